"""The result of a check, and how a check registers itself."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from typing import TYPE_CHECKING

from scipy.stats import binom

from ard.artifacts.check_names import CHECK_NAMES, by_number
from ard.artifacts.record_parts import CheckResult, Verdict

if TYPE_CHECKING:
    from ard.evaluation.checks.evidence import Evidence

CheckFunction = Callable[["Evidence"], CheckResult]
FAMILIES = "VMO"  # validity, the model's condition, the order of accuracies: as records list them
SUITES_FROM = {"quick": ("quick", "standard", "full"), "standard": ("standard", "full"), "full": ("full",)}


@dataclass(frozen=True)
class Check:
    """A registered check: its id, its name, the suites that run it, and what it does."""

    id: str
    name: str
    suites: tuple[str, ...]
    run: CheckFunction


_REGISTERED: dict[str, Check] = {}


def check(check_id: str, *, first: str) -> Callable[[CheckFunction], CheckFunction]:
    """Registers a function as the check of this id, run by the suite `first` and those that contain it.

    The check's name is in ard/artifacts/check_names.py, where tables read it without importing an evaluation.
    """

    def register(function: CheckFunction) -> CheckFunction:
        @wraps(function)
        def run(evidence: "Evidence") -> CheckResult:
            return replace(function(evidence), id=check_id)

        if check_id in _REGISTERED:
            raise ValueError(f"{check_id} is registered twice")
        _REGISTERED[check_id] = Check(check_id, CHECK_NAMES[check_id], SUITES_FROM[first], run)
        return run

    return register


def registered() -> dict[str, Check]:
    """Every check by its id, in the order in which records list them."""
    ids = sorted(_REGISTERED, key=lambda name: (FAMILIES.index(name[0]), by_number(name)))
    return {name: _REGISTERED[name] for name in ids}


def by_chance(n: int, rate: float) -> int:
    """The most of n images that a share `rate` yields in 999 of 1,000 draws: more of them are no chance (binomial)."""
    return int(binom.ppf(0.999, n, rate)) if n else 0


def at_most(value: float, reason: str, *, fail: float | None = None, warn: float | None = None) -> CheckResult:
    """fail above `fail`, warn above `warn`, otherwise pass; NaN is above everything."""
    shown = value if math.isfinite(value) else None  # JSON has no NaN
    verdict: Verdict = "pass"
    threshold = fail if warn is None else warn
    if warn is not None and not value <= warn:
        verdict = "warn"
    if fail is not None and not value <= fail:
        verdict, threshold = "fail", fail
    return _result(shown, threshold, verdict, reason)


def holds(value: bool, reason: str, *, otherwise: Verdict = "fail") -> CheckResult:
    """pass where the statement holds."""
    return _result(value, True, "pass" if value else otherwise, reason)


def skipped(reason: str) -> CheckResult:
    """The check lacks an input."""
    return _result(None, None, "skipped", reason)


def _result(value: float | bool | None, threshold: float | bool | None, verdict: Verdict, reason: str) -> CheckResult:
    """The id is put in where the check is registered."""
    return CheckResult(id="", value=value, threshold=threshold, verdict=verdict, reason=reason)
