#!/usr/bin/env python3
"""Measure what docs/performance.md shows: `ard bench` at the published settings, threads fixed, beside the other records."""

import os
import sys
from pathlib import Path

SETTINGS = {"OMP_NUM_THREADS": str(len(os.sched_getaffinity(0))), "OMP_WAIT_POLICY": "passive"}

if __name__ == "__main__":
    os.environ.update(SETTINGS)  # before torch is imported
    from ard.__main__ import main

    folder = Path(__file__).resolve().parents[1] / "docs" / "results" / "benchmark"
    folder.mkdir(parents=True, exist_ok=True)
    sys.exit(main(["bench", "--out", str(folder / "benchmark.json"), *sys.argv[1:]]))
