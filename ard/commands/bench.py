"""`ard bench`."""

import json
from pathlib import Path
from typing import Any

from ard.artifacts.typed_json import parsed
from ard.cli.messages import show
from ard.cli.quick_imports import quick_imports
from ard.core.errors import UserError
from ard.core.files import check_writable, small_text, write_whole
from ard.evaluation.request import split_commas


def bench(
    out: str = "benchmark.json",
    batch_size: int = 128,
    steps: int = 10,
    rounds: int = 5,
    only: str = "",
    weights: str = "",
) -> int:
    """Time our training step against those of the released ARD and RSLAD codes, on this machine.

    Args:
        out: where the record goes, after each group; with --only, the other groups of a record already there are kept.
        batch_size: images a step.
        steps: of PGD.
        rounds: interleaved repetitions; ratios are their medians.
        only: groups whose name contains this, such as MobileNetV2 or RSLAD.
        weights: trained networks to time, comma-separated files; by default they are trained for a moment.
    """
    for option, number in (("batch-size", batch_size), ("steps", steps), ("rounds", rounds)):
        if number < 1:
            raise UserError(f"--{option} {number}: expected at least 1")
    with quick_imports():
        from ard.bench.benchmark import benchmark
        from ard.bench.report import bench_table

    check_writable(Path(out))
    onto = _earlier(Path(out)) if only and Path(out).exists() else None
    files = [Path(name) for name in split_commas(weights)]

    measured: dict[str, Any] = {}

    def keep(record: dict[str, Any]) -> None:
        measured.update(record)
        write_whole(Path(out), json.dumps(record, indent=1) + "\n")

    try:
        benchmark(batch_size=batch_size, steps=steps, count=rounds, only=only, onto=onto, files=files, keep=keep)
    finally:
        if measured:  # also where the last of it could not be written
            show(bench_table(measured))
    return 0


def _earlier(path: Path) -> dict[str, Any]:
    try:
        return dict(parsed(small_text(path)))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}): expected a record of `ard bench`; name another --out") from error
