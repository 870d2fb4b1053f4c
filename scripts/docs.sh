#!/usr/bin/env bash
# The API reference from the docstrings, into build/api; a warning, such as a link that leads nowhere, is an error.
source "$(dirname "$0")/setup.sh"
exec .venv/bin/mkdocs build --strict
