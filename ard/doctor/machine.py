"""Checks of the machine: packages, disk, device, and how much each speed-up brings on it."""

import os
import platform
import shutil
import warnings
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import requires
from pathlib import Path
from typing import Literal

import torch
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from ard.bench import measure
from ard.bench.levers import every_row
from ard.bench.measured import speeds
from ard.bench.timed_step import TimedStep
from ard.core.cores import usable_cores
from ard.core.devices import gpu_or_cpu
from ard.core.errors import UserError
from ard.core.packages import installed_version
from ard.doctor.advice import Advice
from ard.models.robustbench import loader
from ard.training.trainer import Trainer, has_bfloat16

PROJECT = "ard-robust-distillation"
FREE_GB = 2  # a few checkpoints of a small student, and room to write the next before the last is deleted
HARMFUL = "a malicious upload: uninstall it, and renew every key that this machine holds"
BAD: list[tuple[str, str, str, Literal["warning", "error"]]] = [
    ("pytorch-lightning", "==2.6.2", HARMFUL, "error"),
    ("pytorch-lightning", "==2.6.3", HARMFUL, "error"),
    ("torch", "<2.6", "a file of weights can run code in spite of weights_only (CVE-2025-32434)", "error"),
    ("lightning", ">=2", "a second Lightning: callbacks and loggers must come from pytorch_lightning", "warning"),
]
OPTIONAL_PACKAGES = {
    "pyautoattack": "AutoAttack: --suite standard and full",
    "torchattacks": "more attacks by name: --attacks",
    "timm": "its networks: ard.models.Timm",
    "robustbench": "its teachers: ard.models.RobustBench",
    "wandb": "Weights & Biases: --logger wandb",
}
BATCH, STEPS, ROUNDS = 8, 2, 2  # takes seconds: a short form of `ard bench`, which measures more exactly


def examine_machine() -> list[Advice]:
    """Packages, disk, device, and the speed-ups, measured now."""
    return [*packages(), *places(), *device(), *levers()]


def packages() -> Iterator[Advice]:
    """Every package that the project requires: installed, of an allowed version, and importable where it is compiled."""
    yield Advice("python", platform.python_version())
    for line in requires(PROJECT) or []:
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        installed = installed_version(wanted.name)
        if installed is None:
            yield Advice(wanted.name, f"missing: pip install '{wanted}'", "error")
            continue
        fits = wanted.specifier.contains(installed, prereleases=True)
        message = installed if fits else f"{installed}: expected {wanted.specifier}"
        yield Advice(wanted.name, message, "ok" if fits else "error")
    yield from optional()
    yield from known_bad()
    try:
        import_module("torchvision.ops")
    except Exception as error:  # a torchvision built for another torch fails in its own ways
        yield Advice("torchvision with torch", f"does not import: {str(error).splitlines()[0]}", "error")


def optional() -> Iterator[Advice]:
    """Packages that a run may do without, and what each is for."""
    for name, purpose in OPTIONAL_PACKAGES.items():
        yield Advice(f"{name} (optional)", f"{installed_version(name) or 'not installed'}; for {purpose}")
    if installed_version("robustbench"):  # which does not declare all that it imports
        try:
            loader()
        except UserError as error:
            yield Advice("robustbench", str(error), "warning")


def known_bad() -> Iterator[Advice]:
    """Installed versions that are known to be harmful."""
    for name, versions, why, verdict in BAD:
        installed = installed_version(name)
        if installed and SpecifierSet(versions).contains(installed, prereleases=True):
            yield Advice(f"{name} {installed}", why, verdict)


def places() -> Iterator[Advice]:
    """Space and permission to write checkpoints here."""
    free = shutil.disk_usage(".").free / 1e9
    yield Advice("free disk", f"{free:.0f} GB", "ok" if free > FREE_GB else "error")
    there = Path("checkpoints") if Path("checkpoints").is_dir() else Path()
    writable = os.access(there, os.W_OK)
    message = "can be written" if writable else "cannot be written: choose another folder"
    yield Advice("checkpoints/", message, "ok" if writable else "error")


def device() -> Iterator[Advice]:
    """What training would run on, and in which precision."""
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    yield Advice("device", ", ".join(gpus) or f"CPU, {usable_cores()} cores, {torch.get_num_threads()} threads")
    trainer = Trainer(devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    yield Advice("precision: auto", str(trainer.precision))
    known = {row["device"] for row in speeds()}
    here = f"{gpus[0]}: measured" if gpus and gpus[0] in known else "this device: not measured"
    yield Advice("GPU-hours of a study", f"{here}; known for {'; '.join(sorted(known)) or 'no GPU'}")


def levers() -> Iterator[Advice]:
    """How much each speed-up brings here: a small ARD step on MobileNetV2 against the released step."""
    place = gpu_or_cpu()
    rows = [row for row in every_row() if row.group == "ARD, MobileNetV2"][:6]
    rows = [row for row in rows if not row.bfloat16 or has_bfloat16(place.type)]
    with warnings.catch_warnings(action="ignore"):  # so few steps do not cross the ball: here they need not
        made = [TimedStep(row, batch_size=BATCH, steps=STEPS, device=place) for row in rows]
    seconds = measure.rounds(made, ROUNDS)
    for row, timing in zip(rows[1:], seconds[1:], strict=True):
        faster = measure.ratio(seconds[0]["step"], timing["step"])["median"]
        yield Advice(row.lever, f"{faster:.1f} times the released step")
    compiler = shutil.which("c++") or shutil.which("g++")
    yield Advice("torch.compile", "a compiler is there" if compiler else "no C++ compiler: not available")
