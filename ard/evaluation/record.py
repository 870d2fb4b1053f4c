"""The record of one evaluation: a number with everything needed to doubt it."""

import json
import math
import os
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import ard
from ard.attacks import Ball, harmless
from ard.bits import pack
from ard.errors import UserError
from ard.evaluation.adversaries import SUITES
from ard.evaluation.cascade import judge
from ard.evaluation.checks import overall, soundness

SCHEMA = 1


def evaluate(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    ball: Ball,
    *,
    suite: str = "quick",
    seed: int = 0,
    classes: list[str] | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """Attack `model` on images (n, C, H, W) in [0, 1] with labels (n,) and return the record, ready for JSON.

    `robust_acc` is the per-image worst case over all attacks of the suite. Raises UserError for a suite that does not
    exist, an empty set of images, pixels outside [0, 1] or a model that does not return logits.
    """
    check_suite(suite)
    start = time.monotonic()
    adversaries = SUITES[suite](ball)
    verdicts = judge(model, x, y, adversaries, ball, seed=seed, progress=progress)
    checks = soundness(model, x, verdicts, ball)
    robust = verdicts.worst
    robust_acc = float(robust.double().mean())
    attacks = [
        {"name": a.name, "settings": a.settings, "accuracy": float(verdicts.correct[a.name].double().mean())}
        for a in adversaries
    ]
    return {
        "schema": SCHEMA,
        "suite": suite,
        "params": sum(parameter.numel() for parameter in model.parameters()),
        "macs": count_macs(model, x[:1]),
        "n": len(y),
        "threat": {"norm": ball.norm, "eps": ball.eps},
        "clean_acc": float(verdicts.correct["clean"].double().mean()),
        "attacks": attacks,
        "robust_acc": robust_acc,
        "stderr": math.sqrt(robust_acc * (1 - robust_acc) / len(y)),
        "per_class": _per_class(verdicts.correct["clean"], robust, y.cpu(), classes),
        "bits": {name: pack(bits.numpy()) for name, bits in {**verdicts.correct, "worst": robust}.items()},
        "checks": checks,
        "verdict": overall(checks),
        "seconds": round(time.monotonic() - start, 2),
        "seed": seed,
        "versions": versions(),
        "commit": _commit(),
    }


def check_suite(name: str) -> None:
    """Raises UserError for a suite that does not exist."""
    if name not in SUITES:
        raise UserError(f"suite {name!r}: expected one of {', '.join(SUITES)}")


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Replace `path` atomically: a record is whole or absent."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(record, indent=1) + "\n")
    os.replace(temporary, path)


def count_macs(model: nn.Module, x: Tensor) -> int:
    """Multiply-adds of one forward pass of one image."""
    with harmless(model), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x)
    return counter.get_total_flops() // 2


def versions() -> dict[str, str]:
    """What computed the numbers."""
    found = {"ard": ard.__version__}
    for package in ("torch", "torchvision", "pytorch-lightning", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _per_class(clean: Tensor, robust: Tensor, y: Tensor, classes: list[str] | None) -> list[dict[str, Any]]:
    rows = []
    for label in y.unique().tolist():
        mine = y == label
        name = classes[label] if classes else str(label)
        clean_acc, robust_acc = (float(bits[mine].double().mean()) for bits in (clean, robust))
        rows.append({"class": name, "n": int(mine.sum()), "clean_acc": clean_acc, "robust_acc": robust_acc})
    return rows


def _commit() -> str | None:
    """The commit of the code that computed the record, marked where the tree had changes; None outside a checkout."""
    root = Path(ard.__file__).parent
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
