"""Soundness checks: what must hold before a robust accuracy may be believed."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ard.attacks import Ball, harmless
from ard.evaluation.cascade import Verdicts

Verdict = Literal["pass", "warn", "fail", "skipped"]


@dataclass(frozen=True)
class Check:
    """One check: what was measured, against which threshold, and what follows."""

    id: str
    value: float | bool | None
    threshold: float | bool | None
    verdict: Verdict
    reason: str


def soundness(model: nn.Module, x: Tensor, verdicts: Verdicts, ball: Ball) -> list[dict[str, Any]]:
    """The checks of the quick suite: validity of the attack (V) and condition of the model and its input (M)."""
    travelled = max(verdicts.largest.values(), default=0.0)
    levels = (x * 255 - (x * 255).round()).abs().max()
    with harmless(model), torch.no_grad():
        logits = model(x[:100])
    checks = [
        _at_most("V1", travelled, ball.eps * (1 + 1e-5) + 1e-6, "the largest perturbation, in the threat's norm"),
        _at_most("V2", verdicts.outside, 0.0, "how far attacked pixels leave [0, 1]"),
        _at_most("V3", verdicts.broken, 0, "NaN or Inf among attacked pixels or logits: so many images"),
        _at_most("V4", verdicts.unmoved, 0.01, "share of rightly classified images that no attack moved"),
        _is("M3", _probabilities(logits), expected=False, reason="the model returns probabilities instead of logits"),
        _at_most("M7", float(levels), 1e-3, "distance of clean pixels from whole multiples of 1/255"),
    ]
    if ball.eps == 0:
        checks = [check for check in checks if check.id != "V4"]
    return [asdict(check) for check in checks]


def overall(checks: list[dict[str, Any]]) -> Literal["sound", "warnings", "unreliable"]:
    """unreliable where any check fails, warnings where any warns."""
    verdicts = {check["verdict"] for check in checks}
    return "unreliable" if "fail" in verdicts else "warnings" if "warn" in verdicts else "sound"


def _at_most(name: str, value: float, threshold: float, reason: str) -> Check:
    shown = value if math.isfinite(value) else None  # JSON has no NaN
    return Check(name, shown, threshold, "pass" if value <= threshold else "fail", reason)


def _is(name: str, value: bool, *, expected: bool, reason: str) -> Check:
    return Check(name, value, expected, "pass" if value is expected else "fail", reason)


def _probabilities(logits: Tensor) -> bool:
    in_range = logits.min() >= -1e-5 and logits.max() <= 1 + 1e-5
    return bool(in_range and (logits.sum(dim=1) - 1).abs().max() <= 1e-5)
