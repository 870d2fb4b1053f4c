"""What a check says."""

import math
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["pass", "warn", "fail", "skipped"]


@dataclass(frozen=True)
class CheckResult:
    """What was measured, against which threshold, what follows, and in words what the value is."""

    value: float | bool | None
    threshold: float | bool | None
    verdict: Verdict
    reason: str


def tolerance(n: int) -> int:
    """How many of n images two attacks may differ by without meaning anything: 0.2 %, but at least 3."""
    return max(3, math.ceil(0.002 * n))


def at_most(value: float, reason: str, *, fail: float | None = None, warn: float | None = None) -> CheckResult:
    """fail above `fail`, warn above `warn`, otherwise pass; NaN is above everything."""
    shown = value if math.isfinite(value) else None  # JSON has no NaN
    verdict: Verdict = "pass"
    threshold = fail if warn is None else warn
    if warn is not None and not value <= warn:
        verdict = "warn"
    if fail is not None and not value <= fail:
        verdict, threshold = "fail", fail
    return CheckResult(shown, threshold, verdict, reason)


def holds(value: bool, reason: str, *, otherwise: Verdict = "fail") -> CheckResult:
    """pass where the statement holds."""
    return CheckResult(value, True, "pass" if value else otherwise, reason)


def skipped(reason: str) -> CheckResult:
    """The check lacks an input."""
    return CheckResult(None, None, "skipped", reason)
