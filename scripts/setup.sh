#!/usr/bin/env bash
# Make .venv and install the project with all extras, once; sourced by demo.sh and test.sh from the project's root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

stamp=.venv/installed
wanted=$(cat pyproject.toml constraints.txt scripts/setup.sh | sha256sum)
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
  echo "Installing into .venv (about 6 GB; once) ..."
  if command -v uv >/dev/null; then
    uv venv --quiet --allow-existing .venv
    install() { VIRTUAL_ENV=.venv uv pip install --quiet "$@"; }
  else
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed" >&2; exit 1; }
    python3 -m venv .venv
    install() { .venv/bin/python -m pip install --quiet --disable-pip-version-check "$@"; }
  fi
  install --constraint constraints.txt --editable '.[wandb,tensorboard,timm,autoattack,dev]'
  install --no-deps torchattacks==3.5.1 # without its own pin on requests 2.25: the extra [torchattacks] has that
  echo "$wanted" >"$stamp"
fi
