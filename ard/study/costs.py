"""What a study's runs cost, before they begin: PFLOP from the passes of every recipe, hours where a GPU was measured."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from inspect import signature
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ard.artifacts.record_file import readable_record
from ard.bench.measured import passes, speeds
from ard.configs.building import build
from ard.core.devices import device_name, gpu_or_cpu
from ard.core.errors import UserError
from ard.core.flops import count_flops
from ard.core.text import markdown_table
from ard.data import CIFAR10, CIFAR100, DataModule, ImageFolder
from ard.data.cifar import nothing_fetched
from ard.models import MobileNetV2, Network, ResNet, load
from ard.study.architectures import architecture
from ard.study.rehearsal import BATCH, BATCHES
from ard.study.study_file import Study
from ard.study.study_run import StudyRun

FOLD = re.compile(r"fold\d+")  # the folder of one
COUNTED_STEPS = 10  # of the attack whose passes were counted
CIFAR_IMAGES = 50_000
PASSES_OF = {"PGDAT": "pgd_at", "Natural": "natural", "TRADES": "trades"}  # for a teacher's config, by its objective
REHEARSED_IMAGES = BATCHES * BATCH
MEASURED_SHAPE = (3, 32, 32)  # of the images on which GPUs were measured


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
    images = _images(json.dumps(config["data"]))
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


def flops_per_image(run: StudyRun, config: Mapping[str, Any]) -> float | None:
    """Of a training step, for one image: a forward pass is f, a backward pass to the pixels f, one to the weights 2 f."""
    arguments = config["model"]["init_args"]
    objective = arguments["objective"]["class_path"].rpartition(".")[2]
    counts = passes().get(Path(run.configs[1]).stem) or passes().get(PASSES_OF.get(objective, ""))
    section, steps = json.dumps(config["data"]), _attack_steps(arguments)
    student, taught = _forward(json.dumps(arguments["student"]), section), _taught(run, arguments, section)
    if counts is None or student is None or None in taught:
        return None
    teacher = sum(taught) / len(taught) if taught else student  # type: ignore[arg-type]
    return sum(
        _of_network(name, count, steps) * (teacher if name == "teacher" else student) for name, count in counts.items()
    )


def passes_with(steps: float, count: Mapping[str, float]) -> dict[str, float]:
    """{F, B} of a training step with so many steps of attack, from those with ten; some ask a network twice in each."""
    return {kind: n + n // COUNTED_STEPS * (steps - COUNTED_STEPS) for kind, n in count.items()}


def _of_network(network: str, count: Mapping[str, float], steps: float) -> float:
    """Of all passes through a network, in forward passes; backward ones of the attack go to the pixels alone."""
    forward, backward = passes_with(steps, count).values()
    of_attack = steps if backward > steps else max(0.0, backward - 1)
    to_pixels = {"teacher": backward, "student": of_attack}.get(network, 0.0)
    return forward + to_pixels + 2 * (backward - to_pixels)


def _attack_steps(arguments: Mapping[str, Any]) -> float:
    """Of the attack; in the mean over all epochs where they grow."""
    steps = int(((arguments["attack"] or {}).get("init_args") or {}).get("steps", 1))
    first = arguments["training"].get("first_steps")
    return steps if first is None else (first + steps) / 2


def _taught(run: StudyRun, arguments: Mapping[str, Any], section: str) -> list[float | None]:
    """The operations of a forward pass of each of a run's teachers; None for one that nobody knows before it is there."""
    found = [_forward(json.dumps(teacher.student), section) for teacher in run.teachers.values()]
    given = arguments.get("teacher") or {}
    known = given.get("init_args") or {}
    if str(given.get("class_path")).endswith(".RobustBench"):
        found.append(_forward(json.dumps(architecture(known["name"], known["dataset"])[0]), section))
    elif given and not found:
        weights = known.get("weights")
        found.append(_forward_of_file(str(Path(weights).absolute()), section) if weights else None)
    return found


@cache
def _data(section: str) -> DataModule | None:
    """Nothing where the images are not there and their folders would say what they are."""
    try:
        with nothing_fetched():
            data = inner = build(DataModule, json.loads(section))
    except UserError:
        return None
    while inner is not None:
        if isinstance(inner, ImageFolder):
            inner.memory_limit_mb = 0  # so that counting its images decodes none
        inner = getattr(inner, "base", None)
    return data


@cache
def _forward(network: str, section: str) -> float | None:
    """Operations of a forward pass of one image."""
    data = _data(section)
    if data is None:
        return None
    return _counted(build(Network, json.loads(network))(num_classes=data.num_classes), data)


@cache
def _forward_of_file(weights: str, section: str) -> float | None:
    """The same of the network that a file of weights is of; a name in it builds none but ours."""
    data = _data(section)
    try:
        return None if data is None else _counted(load(weights), data)
    except UserError:
        return None


def _counted(network: nn.Module, data: DataModule) -> float:
    with torch.no_grad():
        return float(count_flops(partial(network.eval(), torch.rand(1, *data.input_shape))))


@cache
def _images(section: str) -> int | None:
    """How many images an epoch trains on; nothing is downloaded to know it."""
    data = _data(section)
    if isinstance(data, CIFAR10 | CIFAR100):
        return CIFAR_IMAGES - data.val_size
    if type(data) is ImageFolder:
        return sum(map(len, data.train_files.values())) - data.val_size
    try:
        with nothing_fetched():
            return None if data is None else data.image_count
    except UserError:
        return None


def seconds_per_image(config: Mapping[str, Any], flops: float | None) -> float | None:
    """At the FLOP/s that a step of ARD reached with this student on a GPU of this kind, where that was measured."""
    student, data = config["model"]["init_args"]["student"], _data(json.dumps(config["data"]))
    if flops is None or data is None or tuple(data.input_shape) != MEASURED_SHAPE or not torch.cuda.is_available():
        return None
    here = torch.cuda.get_device_name()
    lever = "shipped" if _attack_steps(config["model"]["init_args"]) > 1 else "shipped, N-FGSM"
    wanted = (here, _measured_name(student), lever)
    rates = [row["tflops"] for row in speeds() if (row["device"], row["student"], row["lever"]) == wanted]
    return flops / (rates[0] * 1e12) if rates else None


def _measured_name(student: Mapping[str, Any]) -> str | None:
    """MobileNetV2 or ResNet-18, as records of speed call them, where it has no other arguments than these."""
    for name, kind in (("MobileNetV2", MobileNetV2), ("ResNet-18", ResNet)):
        usual = {key: one.default for key, one in signature(kind).parameters.items()}
        given = student.get("init_args") or {}
        if student["class_path"] == f"ard.models.{kind.__name__}" and all(usual[key] == given[key] for key in given):
            return name
    return None
