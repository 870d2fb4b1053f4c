"""Would this run go well? Every check of it, each with a finding of its own, and nothing written."""

from collections.abc import Callable, Iterator, Sequence

from ard.core.errors import UserError
from ard.doctor import data_checks, folder_checks, machine, teacher_checks, trial_step
from ard.doctor.advice import Finding
from ard.doctor.planned_run import Run

CHECKS: dict[str, Callable[[Run], Iterator[Finding]]] = {
    "splits": data_checks.sizes,
    "labels": data_checks.labels,
    "pixels": data_checks.pixels,
    "validation images": data_checks.steady,
    "shared images": data_checks.twice,
    "teacher": teacher_checks.examine,
    "folder": folder_checks.folder,
    "disk": folder_checks.disk,
    "logger": folder_checks.loggers,
    "training step": trial_step.examine,
}


def preflight(arguments: Sequence[str]) -> list[Finding]:
    """The findings for an `ard fit` with these options; raises UserError where its parts cannot be built."""
    run = Run.of(arguments)
    packages = [finding for finding in machine.packages() if finding.verdict != "ok"]
    findings = packages or [Finding("packages", "those that are asked for")]
    for name, check in CHECKS.items():
        findings += guarded(name, check, run)
    return findings


def guarded(name: str, check: Callable[[Run], Iterator[Finding]], run: Run) -> Iterator[Finding]:
    """The findings of a check; an exception in the middle is the last of them."""
    try:
        yield from check(run)
    except UserError as error:
        yield Finding(name, str(error), "error")
    except Exception as error:  # what other people's data and networks raise is a finding, and the other checks follow
        yield Finding(name, f"{type(error).__name__}: {error}".strip().splitlines()[0], "error")
