"""What training costs for one image, in operations and, where a GPU was measured, seconds; and how many images there are."""

import json
from collections.abc import Mapping
from functools import cache, partial
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ard.bench.measured import passes, speeds
from ard.configs.building import build
from ard.core.errors import UserError
from ard.core.flops import count_flops
from ard.data import CIFAR10, CIFAR100, DataModule, ImageFolder
from ard.data.cifar import nothing_fetched
from ard.models import MobileNetV2, Network, ResNet, load
from ard.study.architectures import architecture
from ard.study.study_run import StudyRun

COUNTED_STEPS = 10  # of the attack whose passes were counted
CIFAR_IMAGES = 50_000
PASSES_OF = {"PGDAT": "pgd_at", "Natural": "natural", "TRADES": "trades"}  # for a teacher's config, by its objective
MEASURED_SHAPE = (3, 32, 32)  # of the images on which GPUs were measured


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
def images_of_an_epoch(section: str) -> int | None:
    """How many images an epoch trains on; nothing is downloaded to know it."""
    data = _data(section)
    if isinstance(data, CIFAR10 | CIFAR100):
        return CIFAR_IMAGES - data.val_size
    if type(data) is ImageFolder:
        return sum(map(len, data.train_files.values())) - data.val_size
    try:
        with nothing_fetched():
            return None if data is None else data.images_an_epoch
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
