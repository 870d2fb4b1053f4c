"""The output of an evaluation: its cost, its progress, its result."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from ard.artifacts.record import CheckResult, Record
from ard.core.statistics import wilson_interval
from ard.core.terminal import console

WORTH_SAYING = 30  # seconds from which on an estimate is


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:,.0f} passes/s")


@contextmanager
def progress_bar(name: str, total: float, images: int) -> Iterator[Callable[[float], None]]:
    """A bar over image-passes with rate and time left, where a person is watching."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), _Rate(), TimeRemainingColumn())
    screen = console(error=True)
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress:
        task = progress.add_task(f"evaluating {name}, {images} images", total=total)
        yield lambda passes: progress.advance(task, passes)


def announce_cost(seconds: float, suite: str, images: int) -> None:
    """An upper bound on the time, where that is long: images that are misclassified early cost less."""
    if seconds >= WORTH_SAYING:
        minutes = seconds / 60
        time = f"{minutes / 60:.1f} h" if minutes >= 90 else f"{minutes:.0f} min" if minutes >= 2 else f"{seconds:.0f} s"
        text = f"suite {suite} on {images} images: at most about {time}; if interrupted, the same command continues"
        console(error=True).print(text, highlight=False)


def summary(record: Record, weights: Path, path: Path) -> str:
    """A few lines for the terminal; where a check failed, its name is shown in place of every robust number."""
    threat = f"{record.threat.norm} {record.threat.eps:.4g}"
    lines = [f"{weights}: {record.dataset.name} {record.split}, n = {record.n}, {threat}"]
    if record.failed:
        lines += [f"  clean {record.clean_acc:.1%}", f"  UNRELIABLE: {_checks_in_words(record.failed)}"]
    else:
        attacks = record.standalone | ({} if record.autoattack_acc is None else {"AA": record.autoattack_acc})
        shown = "  ".join(f"{name} {value:.1%}" for name, value in [("clean", record.clean_acc), *attacks.items()])
        low, high = wilson_interval(record.robust_acc, record.n)
        lines += [f"  {shown}", f"  worst case {record.robust_acc:.1%} [{low:.1%}, {high:.1%}]  ({record.verdict})"]
    lines += [f"  warnings: {_checks_in_words(record.warned)}"] if record.warned else []
    return "\n".join([*lines, f"  record: {path}"])


def _checks_in_words(checks: Sequence[CheckResult]) -> str:
    return ", ".join(
        f"{check.name} ({check.reason}: {_short(check.value)}, at most {_short(check.threshold)})"
        if isinstance(check.threshold, float | int) and not isinstance(check.threshold, bool)
        else f"{check.name} (does not hold: {check.reason})"
        for check in checks
    )


def _short(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3g}"
