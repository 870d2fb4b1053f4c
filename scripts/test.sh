#!/usr/bin/env bash
# All checks: style, types, tests. Arguments go to pytest, such as: scripts/test.sh -m 'not slow'
source "$(dirname "$0")/setup.sh"
.venv/bin/ruff check ard scripts tests
.venv/bin/mypy
OMP_NUM_THREADS=1 exec .venv/bin/python -m pytest -n 2 --dist worksteal "$@"
