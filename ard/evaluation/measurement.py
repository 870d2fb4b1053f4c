"""The record of one evaluation: the number with everything needed to check it."""

import math
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import ard
from ard.artifacts.facts import NetworkSpec, Threat
from ard.artifacts.record import Record, word_of
from ard.artifacts.record_parts import AttackResult, ClassResult, CurvePoint, DatasetSpec, WeightsFile
from ard.attacks import Ball, frozen_mode
from ard.core.bits import pack
from ard.core.devices import device_name
from ard.core.flops import count_flops
from ard.core.packages import installed_version
from ard.core.pixels import digest_of_images, levels_of
from ard.evaluation.adversaries import Adversary
from ard.evaluation.checks import Evidence, overall, soundness
from ard.evaluation.library_attacks import AUTOATTACK_PARTS
from ard.evaluation.suites import CURVE


def record_from(evidence: Evidence, suite: str, classes: Sequence[str] | None) -> Record:
    """Accuracies, verdicts, checks and provenance of the computation.

    Where network, weights and images come from is not known here: the record calls them "in memory".
    """
    verdicts, n = evidence.verdicts, evidence.n
    checks = soundness(evidence, suite)
    clean, robust = verdicts.correct["clean"], verdicts.worst
    robust_acc = float(robust.double().mean())
    results = {adversary.name: _attack_result(adversary, evidence) for adversary in evidence.adversaries}
    attacks = tuple(results[adversary.name] for adversary in evidence.adversaries if not adversary.probe)
    bits = {"clean": clean} | {name: verdicts.correct[name] for name in evidence.attacks} | {"worst": robust}
    return Record(
        **_in_memory(evidence),
        suite=suite,
        params=sum(parameter.numel() for parameter in evidence.model.parameters()),
        macs=count_macs(evidence.model, evidence.x[:1]),
        n=n,
        threat=_threat(evidence.ball),
        clean_acc=verdicts.accuracy("clean"),
        attacks=attacks,
        robust_acc=robust_acc,
        stderr=stderr(robust_acc, n),
        autoattack_acc=verdicts.autoattack_acc,
        probes=tuple(results[adversary.name] for adversary in evidence.adversaries if adversary.probe),
        curve=_curve(evidence),
        per_class=_per_class(clean, robust, evidence.y.cpu(), classes),
        bits={name: pack(value.numpy()) for name, value in bits.items()},
        checks=checks,
        verdict=word_of(overall(checks), attacks),
        notes=_notes(evidence),
        seconds=round(verdicts.seconds, 2),
        images_per_s=round(n / max(verdicts.seconds, 1e-9), 2),
        device=device_name(evidence.x.device),
        seed=evidence.seed,
        versions=versions(),
        commit=commit(),
    )


def _in_memory(evidence: Evidence) -> dict[str, Any]:
    return {
        "weights": WeightsFile(path="in memory", sha256=None),
        "model": NetworkSpec(class_path=_class_path(evidence.model), init_args={}),
        "dataset": DatasetSpec(name="images in memory", class_path="torch.Tensor", digest=_digest(evidence)),
        "split": "in memory",
        **dict.fromkeys(("limit", "recipe", "teacher", "training")),
    }


def stderr(accuracy: float, n: int) -> float:
    """√(p (1 − p) / n)."""
    return math.sqrt(accuracy * (1 - accuracy) / n)


def count_macs(model: nn.Module, x: Tensor) -> int:
    """Multiply-adds of one forward pass of one image."""
    with frozen_mode(model), torch.no_grad():
        return count_flops(partial(model, x)) // 2


def versions() -> dict[str, str]:
    """The versions of the packages that computed the numbers."""
    packages = ("torch", "torchvision", "pytorch-lightning", "numpy", "pyautoattack", "torchattacks")
    found = {package: version for package in packages if (version := installed_version(package))}
    return {"ard": ard.__version__, **found}


def commit() -> str | None:
    """The commit of the code that computed the record, marked where the tree had changes; None outside a checkout."""
    root = Path(ard.__file__).parent
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _attack_result(adversary: Adversary, evidence: Evidence) -> AttackResult:
    verdicts = evidence.verdicts
    return AttackResult(
        name=adversary.name,
        group=adversary.group,
        threat=_threat(adversary.ball) if adversary.probe and adversary.ball else None,
        settings=adversary.settings,
        accuracy=verdicts.accuracy(adversary.name),
        attacked=int(verdicts.total(adversary.name, "attacked")),
        after=adversary.after,
        seconds=round(verdicts.total(adversary.name, "seconds"), 2),
    )


def _threat(ball: Ball) -> Threat:
    return Threat(norm=ball.norm, eps=ball.eps)


def _class_path(model: nn.Module) -> str:
    return f"{type(model).__module__}.{type(model).__qualname__}"


def _digest(evidence: Evidence) -> str:
    """The digest of the images, as levels of 8 bits, and the labels: the same as that of the data set they are from."""
    return digest_of_images(levels_of(evidence.x).cpu(), evidence.y.cpu())


def _curve(evidence: Evidence) -> tuple[CurvePoint, ...]:
    """Accuracy under PGD-20 against the radius; empty where the sweep did not run."""
    verdicts = evidence.verdicts
    radii = {"clean": 0.0, "PGD-20": evidence.ball.eps}
    radii |= {a.name: a.ball.eps for a in evidence.adversaries if a.ball and a.name in _sweep()}
    if len(radii) == 2:
        return ()
    points = sorted((float(eps), verdicts.accuracy(name)) for name, eps in radii.items())
    return tuple(CurvePoint(eps=eps, accuracy=accuracy, stderr=stderr(accuracy, evidence.n)) for eps, accuracy in points)


def _sweep() -> set[str]:
    return {f"PGD-20 at {factor:g} eps" for factor in CURVE}


def _notes(evidence: Evidence) -> tuple[str, ...]:
    missing = [name for name in AUTOATTACK_PARTS if name not in evidence.attacks]
    partly = f"{evidence.num_classes} classes: AutoAttack ran without {' and '.join(missing)}, which need 4"
    return tuple(filter(None, [evidence.ball.doubt, partly if "Square" in evidence.attacks and missing else ""]))


def _per_class(clean: Tensor, robust: Tensor, y: Tensor, classes: Sequence[str] | None) -> tuple[ClassResult, ...]:
    rows = []
    for label in y.unique().tolist():
        mine = y == label
        name = classes[label] if classes else str(label)
        clean_acc, robust_acc = (float(bits[mine].double().mean()) for bits in (clean, robust))
        rows.append(ClassResult(name=str(name), n=int(mine.sum()), clean_acc=clean_acc, robust_acc=robust_acc))
    return tuple(rows)
