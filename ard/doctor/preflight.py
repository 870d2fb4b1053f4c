"""Would this run go well? Every check of a run, without writing anything."""

from collections.abc import Callable, Iterator, Sequence

from ard.core.errors import UserError
from ard.core.text import named_error
from ard.doctor import data_checks, folder_checks, machine, teacher_checks, trial_step
from ard.doctor.advice import Advice
from ard.doctor.planned_run import PlannedRun

PREFLIGHT: dict[str, Callable[[PlannedRun], Iterator[Advice]]] = {
    "splits": data_checks.sizes,
    "labels": data_checks.labels,
    "pixels": data_checks.pixels,
    "validation images": data_checks.steady,
    "shared images": data_checks.twice,
    "other classes": data_checks.other_classes,
    "teacher": teacher_checks.check_teacher,
    "folder": folder_checks.folder,
    "disk": folder_checks.disk,
    "logger": folder_checks.loggers,
    "training step": trial_step.try_step,
}


def preflight(arguments: Sequence[str]) -> list[Advice]:
    """The advice on an `ard fit` with these options; raises UserError where its parts cannot be built."""
    run = PlannedRun.of(arguments)
    packages = [advice for advice in machine.packages() if advice.verdict != "ok"]
    advice = packages or [Advice("packages", "all that are required")]
    for name, check in PREFLIGHT.items():
        advice += run_check(name, check, run)
    return advice


def run_check(name: str, check: Callable[[PlannedRun], Iterator[Advice]], run: PlannedRun) -> Iterator[Advice]:
    """The advice of one check; an exception in the middle becomes an error, and is the last of it."""
    try:
        yield from check(run)
    except UserError as error:
        yield Advice(name, str(error), "error")
    # whatever data and networks of others raise becomes an error of this check; the other checks follow
    except Exception as error:
        yield Advice(name, named_error(error), "error")
