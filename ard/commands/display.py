"""The output of an evaluation: its cost, its progress, its result."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from ard.artifacts.record import Record
from ard.artifacts.record_parts import WORTH_SAYING
from ard.core.terminal import console
from ard.core.text import duration


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:,.0f} passes/s")


@contextmanager
def progress_bar(name: str, total: float, images: int) -> Iterator[Callable[[float], None]]:
    """A bar over image-passes with rate and time left, where a person is watching."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    screen = console(error=True)
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress:
        task = progress.add_task(f"evaluating {name}, {images} images", total=total)
        yield lambda passes: progress.advance(task, passes)


def announce_cost(seconds: float, suite: str, images: int) -> None:
    """An upper bound on the time, where that is long: images that are misclassified early cost less."""
    if seconds >= WORTH_SAYING:
        most = f"suite {suite} on {images} images: at most about {duration(seconds)}"
        console(error=True).print(f"{most}; if interrupted, the same command continues", highlight=False)


def summary(record: Record, weights: Path, path: Path) -> str:
    """A few lines for the terminal: which weights, what the record says, where it is."""
    surprise = record.time.surprise if record.time else ""
    return f"{weights}: {record}\n  record: {path}" + (f"\n  {surprise}" if surprise else "")
