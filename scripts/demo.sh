#!/usr/bin/env bash
# The main job on real images: a robust teacher, six students, a table and a picture.
source "$(dirname "$0")/setup.sh"
exec .venv/bin/ard study configs/studies/digits.yaml
