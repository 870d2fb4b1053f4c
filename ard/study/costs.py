"""What a study's runs cost, before they begin: PFLOP from the passes of every recipe, hours where a GPU was measured."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from ard.artifacts.record_file import readable_record
from ard.bench.measured import speeds
from ard.core.devices import device_name, gpu_or_cpu
from ard.core.text import markdown_table
from ard.study.rehearsal import BATCH, BATCHES
from ard.study.step_costs import flops_per_image, images_of_an_epoch, seconds_per_image
from ard.study.study_file import Study
from ard.study.study_run import StudyRun

FOLD = re.compile(r"fold\d+")  # the folder of one
REHEARSED_IMAGES = BATCHES * BATCH


@dataclass(frozen=True)
class RunCost:
    """Of a method's run: training alone, without validation and evaluation; None where it is not known."""

    method: str
    runs: int
    flops_per_image: float | None  # for each image of each epoch
    images: int | None  # of all epochs
    hours: float | None = None

    @property
    def pflop(self) -> float | None:
        known = self.flops_per_image is not None and self.images is not None
        return self.flops_per_image * self.images / 1e15 if known else None  # type: ignore[operator]


def costs(runs: Sequence[StudyRun], resolved: Mapping[str, dict[str, Any]]) -> list[RunCost]:
    """One of each kind of run, with how many of it there are."""
    kinds: dict[str, list[StudyRun]] = {}
    for run in runs:
        kinds.setdefault(_kind(run), []).append(run)
    return [_cost(name, members, resolved) for name, members in kinds.items()]


def _cost(name: str, members: Sequence[StudyRun], resolved: Mapping[str, dict[str, Any]]) -> RunCost:
    """The mean of its runs where these are trials of several methods, else of the first, which all others cost."""
    images, work, hours = [], [], []
    for run in members if name == "trials" else members[:1]:
        config = resolved[run.name]
        flops = flops_per_image(run, config)
        pace = seconds_per_image(config, flops)
        seen = _images_of_all_epochs(config)
        images.append(seen)
        work.append(flops if flops is None or seen is None else flops * seen)
        hours.append(None if pace is None or seen is None else pace * seen / 3600)
    mean, done = _mean(images), _mean(work)
    flops = done if mean is None or done is None else done / mean
    return RunCost(name, len(members), flops, None if mean is None else round(mean), _mean(hours))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def _images_of_all_epochs(config: Mapping[str, Any]) -> int | None:
    images = images_of_an_epoch(json.dumps(config["data"]))
    return None if images is None else images * int(config["trainer"]["max_epochs"])


def counted(rows: Sequence[RunCost], rehearsed: Sequence[StudyRun], **changes: Any) -> list[RunCost]:
    """The rows, and where nobody counted the passes of a recipe, what the first steps of its rehearsal cost.

    `changes` are the same for all rows. A recipe that begins with less, as attacks that grow, costs more than that.
    """
    found = {}
    for run in rehearsed:
        record = readable_record(run.folder.records[0])
        if record is not None and record.training is not None and record.training.pflop:
            seen = REHEARSED_IMAGES * (record.training.epochs or 1)
            found[_kind(run)] = record.training.pflop * 1e15 / seen
    rows = [replace(row, **changes) for row in rows]
    return [replace(row, flops_per_image=row.flops_per_image or found.get(row.method)) for row in rows]


def repeated(rows: Sequence[RunCost], study: Study) -> list[RunCost]:
    """The rows of a study of one seed, one fold and one trial, with as many runs as the whole study has."""
    folds, seeds = len(study.every_fold), len(study.seeds_of(study.every_fold[0]))
    trials = prod(len(numbers) for numbers in study.tune.values())
    times = {"trials": folds * trials}
    return [
        replace(
            row,
            runs=row.runs * times.get(row.method, folds * (1 if row.method.startswith("teachers/") else seeds)),
        )
        for row in rows
    ]


def _kind(run: StudyRun) -> str:
    """The name of all runs that differ in seed and fold alone; trials have one name."""
    name = Path(run.name) if run.role == "teacher" else Path(run.name).parent
    return "trials" if run.tried else "/".join(part for part in name.parts if not FOLD.fullmatch(part))


def costs_table(rows: Sequence[RunCost]) -> str:
    """What each kind of run costs, and the sum."""
    lines = [
        [
            row.method,
            str(row.runs),
            "not counted" if row.flops_per_image is None else f"{row.flops_per_image / 1e9:.3g}",
            _number(row.pflop),
            _number(row.hours),
        ]
        for row in rows
    ]
    table = markdown_table(["Training", "runs", "GFLOP an image", "PFLOP a run", "GPU-hours a run"], lines)
    return f"{table}\n\n{costs_line(rows)}"


def _number(value: float | None) -> str:
    return "not known" if value is None else _rounded(value)


def _rounded(value: float) -> str:
    """Three digits, of large numbers all before the point: 0.000264, 41.1, 2,782."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def costs_line(rows: Sequence[RunCost]) -> str:
    """The sum over all runs, and what it leaves out."""
    pflop = [row.pflop * row.runs for row in rows if row.pflop is not None]
    left = len(rows) - len(pflop)
    out = f", not counting {left} of {len(rows)} rows" if left else ""
    hours = [row.hours * row.runs for row in rows if row.hours is not None]
    device = device_name(gpu_or_cpu())
    speed = f"{_rounded(sum(hours))} GPU-hours at what was measured on {device}" if hours else _unmeasured(device)
    runs = sum(row.runs for row in rows)
    what = f"Training {runs} run{'s' if runs > 1 else ''} costs {_rounded(sum(pflop))} PFLOP{out}"
    return f"{what}; {speed}. Validation and evaluation come on top."


def _unmeasured(device: str) -> str:
    there = "; ".join(sorted({row["device"] for row in speeds()})) or "no GPU"
    return f"GPU-hours are not known on {device}: measured were {there}, on images of 32×32"
