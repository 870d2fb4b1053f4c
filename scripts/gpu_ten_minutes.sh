#!/usr/bin/env bash
# What to run first on a machine with one GPU: three steps of every recipe, `ard bench`, then N-FGSM and PGD students at real size.
#   scripts/gpu_ten_minutes.sh DATA OUT [SECONDS] [--epochs N] [--part PART] [--teacher METHOD] [--students METHODS] [--toy]
# DATA holds CIFAR-10: train/<class>/* and test/<class>/* (JPEG or PNG), or torchvision's cifar-10-batches-py.
# OUT gets everything, and is complete at any moment: called again, with any SECONDS, it goes on. --toy rehearses it all on
# a CPU in minutes, with digits and tiny networks; DATA is then not read.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-$here/../.venv/bin/python}
[ -x "$python" ] || python=python3
export PYTHONPATH="$here/..${PYTHONPATH:+:$PYTHONPATH}" OMP_WAIT_POLICY=passive
exec "$python" "$here/gpu_ten_minutes.py" "$@"
