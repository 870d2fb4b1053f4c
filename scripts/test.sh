#!/usr/bin/env bash
# All checks: style, types, reference, tests. Arguments go to pytest, such as: scripts/test.sh -m 'not slow'
# `scripts/test.sh fast` runs the tests of the mathematics and of the layout alone.
source "$(dirname "$0")/setup.sh"
export OMP_NUM_THREADS=1
if [ "${1-}" = fast ]; then
  shift
  exec .venv/bin/python -m pytest -n 2 --dist worksteal -m 'not slow' \
    tests/{core,losses,attacks,models,objectives,artifacts} tests/test_architecture.py "$@"
fi
.venv/bin/ruff check ard scripts tests
.venv/bin/mypy
./scripts/docs.sh
exec .venv/bin/python -m pytest -n 2 --dist worksteal "$@"
