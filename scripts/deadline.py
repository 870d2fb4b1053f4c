"""Tasks, each an `ard` command, run in the order of their worth until a moment; what is cut goes on at the next call."""

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ard.study.processes import CONTEXT, ard_command

LEAST = 30.0  # seconds; nothing is begun with less: a process starts, images are read
PATIENCE = 12.0  # seconds that a process has to write its checkpoint


@dataclass(eq=False)
class Task:
    """An `ard` command, done once `done()` says so; tasks of a `kind` take about as long as one another.

    One that is `resumable` may be begun without time to finish.
    """

    name: str
    kind: str
    words: list[str]
    log: Path
    done: Callable[[], bool]
    needs: Path | None = None
    resumable: bool = True
    begun: float | None = None
    process: Any = None

    @property
    def ready(self) -> bool:
        return self.begun is None and not self.done() and (self.needs is None or self.needs.is_file())


def start(task: Task, threads: int) -> Any:
    """A process forked from one that has everything imported, its words in the task's log."""
    task.log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    process = CONTEXT.Process(target=ard_command, args=(task.words, task.log, environment))  # type: ignore[attr-defined]
    process.start()
    return process


class Deadline:
    """Runs tasks until `until` on a clock; `file` remembers how long each kind took."""

    def __init__(
        self,
        file: Path,
        until: float,
        start: Callable[[Task, int], Any] = start,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.file, self.until, self.start, self.clock, self.sleep = file, until, start, clock, sleep
        self.origin = clock()
        self.durations: dict[str, float] = json.loads(file.read_text()) if file.is_file() else {}

    def run(self, tasks: Sequence[Task], places: int, ended: Callable[[Task, float], None] = lambda *_: None) -> None:
        """As many at a time as there are places; `ended` hears of each that ends by itself, and of its seconds."""
        threads = max(1, len(os.sched_getaffinity(0)) // places)
        running: list[Task] = []
        try:
            while self.clock() < self.until:
                task = self.next(tasks) if len(running) < places else None
                if task is not None:
                    self.say(task.name)
                    task.begun, task.process = self.clock(), self.start(task, threads)
                    running.append(task)
                elif running:
                    self.sleep(0.1)
                    for task in [task for task in running if task.process.exitcode is not None]:
                        running.remove(task)
                        self._note(task, ended)
                else:
                    return
        finally:
            self._cut(running)

    def next(self, tasks: Sequence[Task]) -> Task | None:
        """The first that fits into the time that is left; else the first that may be cut."""
        left = self.until - self.clock()
        ready = [task for task in tasks if task.ready] if left >= LEAST else []
        fitting = [task for task in ready if self.durations.get(task.kind, 0.0) <= left]
        return next(iter([*fitting, *(task for task in ready if task.resumable)]), None)

    def say(self, line: str) -> None:
        """A line with the seconds since the beginning."""
        print(f"[{self.clock() - self.origin:.0f} s] {line}", flush=True)

    def _note(self, task: Task, ended: Callable[[Task, float], None]) -> None:
        seconds = self.clock() - (task.begun or 0.0)
        ended(task, seconds)
        if task.done():
            self.durations[task.kind] = round(seconds, 1)
            self.file.write_text(json.dumps(self.durations, indent=1) + "\n")
            self.say(f"{task.name}: done in {seconds:.0f} s")
        else:
            self.say(f"{task.name}: status {task.process.exitcode} after {seconds:.0f} s, see {task.log}")

    def _cut(self, running: Sequence[Task]) -> None:
        """SIGTERM: `ard` writes a checkpoint and ends."""
        for task in running:
            self.say(f"{task.name}: cut; the next call takes it up")
            task.process.terminate()
        for task in running:
            task.process.join(PATIENCE)
            if task.process.exitcode is None:
                task.process.kill()
