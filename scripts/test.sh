#!/usr/bin/env bash
# All checks: style, types, reference, tests. Arguments go to pytest, such as: scripts/test.sh -m 'not slow'
# `scripts/test.sh fast` runs the tests of the mathematics and of the layout alone, in about a minute.
# `scripts/test.sh kernels` runs these and the zoo of evaluations as on older processors: without vectors, and with AVX2.
# `scripts/test.sh campaign` runs what takes minutes each.
# Without arguments, as in CI, the tests of mathematics run once more without vectors.
source "$(dirname "$0")/setup.sh"
export OMP_NUM_THREADS=1
fast=(tests/{core,losses,attacks,models,objectives,artifacts} tests/test_architecture.py)
numbers=(tests/{losses,attacks,models,objectives} tests/core/test_{statistics,flops,same_bits}.py)
tests() { .venv/bin/python -m pytest -n 2 --dist worksteal "$@"; }
plain() { ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_ENABLE_INSTRUCTIONS=SSE4_2 tests "$@"; }
avx2() { ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 tests "$@"; }
case "${1-}" in
  fast)
    tests -m 'not slow' "${fast[@]}" "${@:2}"
    exit
    ;;
  kernels)
    for kernels in plain avx2; do
      $kernels -m 'not slow' "${fast[@]}" tests/evaluation/test_zoo.py "${@:2}"
    done
    exit
    ;;
  campaign)
    tests -m campaign --timeout 3600 "${@:2}"
    exit
    ;;
esac
command -v chromium >/dev/null || echo "no chromium: the tests of the pages in a browser are skipped" >&2
.venv/bin/ruff check ard scripts tests
.venv/bin/mypy
./scripts/docs.sh
if [ $# = 0 ]; then
  plain -m 'not slow' "${numbers[@]}"
fi
tests "$@"
