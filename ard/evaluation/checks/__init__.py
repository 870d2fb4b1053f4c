"""Soundness checks: what must hold for a robust accuracy to be reliable."""

from collections.abc import Sequence

from ard.artifacts.record_parts import CheckResult, Overall
from ard.evaluation.checks import answers as answers
from ard.evaluation.checks import condition as condition
from ard.evaluation.checks import order as order
from ard.evaluation.checks import probing as probing
from ard.evaluation.checks import state as state
from ard.evaluation.checks import validity as validity
from ard.evaluation.checks.evidence import Evidence
from ard.evaluation.checks.result import registered

CHECKS = registered()  # after the modules above, whose checks register themselves
SUITES_WITH_CHECKS = {suite for check in CHECKS.values() for suite in check.suites}


def checks_of(suite: str) -> list[str]:
    """The ids of the checks that a suite runs; every one for a suite that is not ours."""
    return [name for name, check in CHECKS.items() if suite in check.suites or suite not in SUITES_WITH_CHECKS]


def soundness(evidence: Evidence, suite: str) -> tuple[CheckResult, ...]:
    """The results of the suite's checks in the order of CHECKS."""
    return tuple(CHECKS[name].run(evidence) for name in checks_of(suite))


def overall(checks: Sequence[CheckResult]) -> Overall:
    """unreliable where any check fails, warnings where any warns."""
    verdicts = {check.verdict for check in checks}
    return "unreliable" if "fail" in verdicts else "warnings" if "warn" in verdicts else "sound"
