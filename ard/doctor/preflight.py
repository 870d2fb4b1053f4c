"""Would this run go well? Every check of it, each with a finding of its own, and nothing written."""

from collections.abc import Callable, Iterator, Sequence

from ard.doctor import images, machine, place, step, teacher
from ard.doctor.finding import Finding
from ard.doctor.run import Run
from ard.errors import UserError

CHECKS: dict[str, Callable[[Run], Iterator[Finding]]] = {
    "splits": images.sizes,
    "labels": images.labels,
    "pixels": images.pixels,
    "validation images": images.steady,
    "shared images": images.twice,
    "teacher": teacher.examine,
    "folder": place.folder,
    "disk": place.disk,
    "logger": place.loggers,
    "training step": step.examine,
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
