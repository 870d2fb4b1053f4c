"""The output of a running study: its runs, their progress, the time left."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ard.artifacts.metrics import read_validations
from ard.artifacts.paths import RunFolder
from ard.core.terminal import console, say


class Display:
    """A bar for the study and one for each running run; plain lines where the output is not a terminal."""

    def __init__(self, runs: int) -> None:
        screen = console()
        columns = (TextColumn("{task.description:<28}", markup=False), BarColumn(), TextColumn("{task.fields[state]:<16}"))
        times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        self.progress = Progress(*columns, *times, console=screen, disable=not screen.is_terminal, refresh_per_second=2)
        self.total = self.progress.add_task("study", total=runs, state=f"0/{runs} runs")
        self.runs, self.done = runs, 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.progress.stop()

    def skipped(self, name: str) -> None:
        """A run that a matching record makes unnecessary."""
        self._say(f"{name}: finished before")
        self._advance()

    def moved(self, name: str, aside: Path) -> None:
        """A run of another configuration or teacher that was here before."""
        self._say(f"{name}: what was here is of another configuration or teacher; it is now in {aside}")

    def untuned(self, name: str) -> None:
        """A run whose settings were tried in vain."""
        self._say(f"{name}: no trial of its settings got above 0 on the validation images; it takes the first setting")

    @contextmanager
    def running(self, name: str, directory: Path, resolved: dict[str, Any]) -> Iterator[None]:
        """Follow a run's metrics.csv until the block ends."""
        self._say(f"{name}: started")
        start, stop = time.monotonic(), threading.Event()
        task = self.progress.add_task(name, total=_epochs(resolved), state="starting")
        follower = threading.Thread(target=self._follow, args=(task, directory, _epochs(resolved), stop), daemon=True)
        follower.start()
        try:
            yield
        finally:
            stop.set()
            follower.join()
            self.progress.remove_task(task)
            self._advance()
            self._say(f"{name}: ended after {time.monotonic() - start:.0f} s ({self.done}/{self.runs} runs)")

    def _follow(self, task: TaskID, directory: Path, epochs: int, stop: threading.Event) -> None:
        done = 0
        while not stop.wait(1.0):
            if validations := read_validations(RunFolder(directory).metrics):  # the run itself refuses a damaged file
                done = validations[-1].epoch + 1
            state = "evaluating" if done >= epochs else f"epoch {done}/{epochs}"
            self.progress.update(task, completed=done, state=state)

    def _advance(self) -> None:
        with self._lock:
            self.done += 1
            self.progress.update(self.total, advance=1, state=f"{self.done}/{self.runs} runs")

    def _say(self, line: str) -> None:
        if self.progress.disable:
            say(line)
        else:
            self.progress.console.print(line, highlight=False, markup=False)


def _epochs(resolved: dict[str, Any]) -> int:
    """How often a run goes through its data: free replays do it once for several epochs' worth of updates."""
    replays = resolved["model"]["init_args"].get("replays", 1)
    return int(resolved["trainer"]["max_epochs"]) // int(replays)
