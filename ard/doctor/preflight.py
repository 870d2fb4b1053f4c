"""Would this run go well? Every check of it, each with a finding of its own, and nothing written."""

from collections.abc import Callable, Iterator, Sequence

from ard.core.errors import UserError
from ard.doctor import data_checks, folder_checks, machine, teacher_checks, trial_step
from ard.doctor.advice import Advice
from ard.doctor.planned_run import PlannedRun

PREFLIGHT: dict[str, Callable[[PlannedRun], Iterator[Advice]]] = {
    "splits": data_checks.sizes,
    "labels": data_checks.labels,
    "pixels": data_checks.pixels,
    "validation images": data_checks.steady,
    "shared images": data_checks.twice,
    "teacher": teacher_checks.check_teacher,
    "folder": folder_checks.folder,
    "disk": folder_checks.disk,
    "logger": folder_checks.loggers,
    "training step": trial_step.try_step,
}


def preflight(arguments: Sequence[str]) -> list[Advice]:
    """The findings for an `ard fit` with these options; raises UserError where its parts cannot be built."""
    run = PlannedRun.of(arguments)
    packages = [finding for finding in machine.packages() if finding.verdict != "ok"]
    findings = packages or [Advice("packages", "those that are asked for")]
    for name, check in PREFLIGHT.items():
        findings += run_check(name, check, run)
    return findings


def run_check(name: str, check: Callable[[PlannedRun], Iterator[Advice]], run: PlannedRun) -> Iterator[Advice]:
    """The findings of a check; an exception in the middle is the last of them."""
    try:
        yield from check(run)
    except UserError as error:
        yield Advice(name, str(error), "error")
    except Exception as error:  # what other people's data and networks raise is a finding, and the other checks follow
        yield Advice(name, f"{type(error).__name__}: {error}".strip().splitlines()[0], "error")
