"""Soundness checks: what must hold before a robust accuracy may be believed."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Literal

from ard.evaluation.checks import condition, order, probing, validity
from ard.evaluation.checks.evidence import Evidence
from ard.evaluation.checks.result import CheckResult

CHECKS: dict[str, Callable[[Evidence], CheckResult]] = {
    "V1": validity.in_the_ball,
    "V2": validity.in_range,
    "V3": validity.finite,
    "V4": validity.moved,
    "V5": validity.same_again,
    "V6": validity.consistent,
    "V7": validity.no_side_effects,
    "V8": validity.each_once,
    "M1": condition.eval_mode,
    "M2": condition.deterministic,
    "M3": condition.logits,
    "M4": condition.float32,
    "M5": condition.differentiable,
    "M6": condition.static,
    "M7": condition.whole_levels,
    "M8": condition.unsaturated,
    "O1": order.more_steps_no_weaker,
    "O2": probing.converged,
    "O3": order.enough_restarts,
    "O4": order.cross_entropy_sees,
    "O5": order.targets_add_little,
    "O6": order.gradients_beat_square,
    "O7": order.gradients_beat_noise,
    "O8": order.gradients_beat_transfer,
    "O9": order.falls_with_the_radius,
    "O10": probing.unbounded,
    "O11": probing.gradients_exist,
    "O12": probing.loss_rises,
    "O13": probing.gradients_are_right,
    "O14": probing.scale_free,
    "O15": probing.controls,
    "O16": order.as_published,
    "O17": order.plausible,
    "O18": order.pgd_flatters_little,
    "O19": order.many_classes_answered,
    "O20": order.above_chance,
}
VALID = ("V1", "V2", "V3", "V4", "V5", "V6", "V7", "V8")
QUICK = (*VALID, "M1", "M2", "M3", "M4", "M5", "M7", "O1", "O4", "O10", "O11", "O15", "O20")
CHECKS_OF_SUITE = {"quick": QUICK, "standard": (*QUICK, "O6", "O16", "O17", "O18"), "full": tuple(CHECKS)}


def soundness(evidence: Evidence, suite: str) -> list[dict[str, Any]]:
    """The suite's checks in the order of CHECKS, ready for JSON."""
    chosen = [name for name in CHECKS if name in CHECKS_OF_SUITE.get(suite, tuple(CHECKS))]
    return [{"id": name, **asdict(CHECKS[name](evidence))} for name in chosen]


def overall(checks: list[dict[str, Any]]) -> Literal["sound", "warnings", "unreliable"]:
    """unreliable where any check fails, warnings where any warns."""
    verdicts = {check["verdict"] for check in checks}
    return "unreliable" if "fail" in verdicts else "warnings" if "warn" in verdicts else "sound"
