"""A command that is disturbed in a folder of its own, and then run to its end: what must hold in between and afterwards."""

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import prepared
import torch
from disturbances import Disk, changes_of, run, running_in
from interruptions import timeless
from killed_runs import STATES, TIMES, differences
from prepared import pair_environments
from safetensors.torch import load_file

from ard.artifacts.adversarial import read_adversarial
from ard.artifacts.checkpoint import read_checkpoint
from ard.artifacts.metrics import read_metrics
from ard.artifacts.paths import RECORD
from ard.artifacts.record_file import read_record
from ard.artifacts.shown import read_shown
from ard.artifacts.weights import read_weights
from ard.core.errors import UserError

GRACE, PATIENCE = 35, 400  # seconds until what belongs to a killed command is gone; until a command is given up
READERS: dict[str, Callable[[Path], Any]] = {
    RECORD: read_record,
    ".ckpt": read_checkpoint,
    ".adversarial.safetensors": read_adversarial,
    ".shown.safetensors": read_shown,
    ".safetensors": read_weights,
    "metrics.csv": read_metrics,
}


class NotSurvivedError(Exception):
    """A try that was not survived, and why."""


def content(path: Path, *, exact: bool) -> Any:
    """What must be the same in every run that leaves this file; None where only its name must be."""
    if path.name.endswith(RECORD):
        tree = timeless(json.loads(path.read_text()))
        return {key: value for key, value in tree.items() if key not in ("weights", "key")}  # their cards have times
    if path.name == "previous.ckpt":
        return None  # what was written before last.ckpt: of an interrupted run, the step that it was interrupted in
    if path.suffix == ".ckpt":
        whole = torch.load(path, weights_only=True)
        return {part: whole[part] for part in STATES}
    if path.suffix == ".safetensors":
        return load_file(path)
    if path.name == "metrics.csv":
        return [{key: value for key, value in row.items() if key not in TIMES} for row in read_metrics(path)]
    return path.read_bytes() if exact else None


@dataclass(frozen=True)
class Command:
    """A command line, the folder that it works in a copy of, and what it does there when it is left alone."""

    words: list[str]
    template: Path
    exact: bool = False  # everything that it writes is the same to the byte
    processes: int = 1  # that train together

    @cached_property
    def alone(self) -> "Try":
        """The undisturbed run."""
        return Try(self, Path(tempfile.mkdtemp(prefix=f"{self.template.name}-", dir=self.template.parent)) / "alone")

    @cached_property
    def ended(self) -> tuple[int, float, int]:
        """Its status, seconds, and changes on disk."""
        since = time.monotonic()
        (status,) = {self.alone.ended(process, {0, 3, 4}) for process in self.alone.start_all(Disk(0))}
        return status, time.monotonic() - since, self.alone.changes

    @property
    def result(self) -> Path:
        """The folder, as it leaves it."""
        assert self.ended
        return self.alone.folder

    @cached_property
    def outcome(self) -> dict[str, Any]:
        """What it leaves, by file."""
        assert self.ended
        return self.alone.outcome()


class Try:
    """A folder in which a command is disturbed, and then run to its end."""

    def __init__(self, command: Command, folder: Path, number: int = 0) -> None:
        self.command, self.folder, self.number, self.talk = command, folder, number, folder.with_suffix(".out")
        self.kills = 0  # processes that ended by a signal
        shutil.copytree(command.template, folder, symlinks=True)

    def start(self, *faults: Any, words: list[str] | None = None) -> Any:
        """The command, or another one, in a process of its own."""
        return prepared.start(run, self.folder, words or self.command.words, faults, {}, words=self.talk)

    def start_all(self, *faults: Any) -> list[Any]:
        """The same of a command of several processes."""
        environments = pair_environments() if self.command.processes == 2 else [{}]
        return [prepared.start(run, self.folder, self.command.words, faults, e, words=self.talk) for e in environments]

    def ended(self, process: Any, allowed: set[int]) -> int:
        """The status of a process that must end in time and with one of these."""
        process.join(PATIENCE)
        if process.exitcode is None:
            process.kill()
            raise NotSurvivedError(f"still running after {PATIENCE} s")
        if process.exitcode not in allowed:
            raise NotSurvivedError(f"status {process.exitcode}: {self._last_words()}")
        self.kills += process.exitcode < 0 or process.exitcode > 128
        return int(process.exitcode)

    def check(self) -> None:
        """No traceback, nothing left running, no damaged file."""
        deadline = time.monotonic() + GRACE
        while (left := running_in(self.folder)) and time.monotonic() < deadline:
            time.sleep(0.05)
        if left:
            raise NotSurvivedError(f"processes left: {left}")
        if "Traceback" in self._said():
            raise NotSurvivedError(f"traceback: {self._last_words()}")
        for path in self._files():
            read = next((read for end, read in READERS.items() if path.name.endswith(end)), None)
            try:
                _ = read(path) if read else None
            except UserError as error:
                raise NotSurvivedError(f"damaged: {error}") from error

    def finish(self) -> None:
        """Started once more, undisturbed, it ends as if nothing had happened before."""
        self.check()
        for process in self.start_all():
            self.ended(process, {self.command.ended[0]})
        self.check()
        self.compare(self.command.outcome)

    def compare(self, expected: dict[str, Any]) -> None:
        found = self.outcome()
        if names := sorted({*found} ^ {*expected}):
            raise NotSurvivedError(f"other files: {', '.join(names)}")
        if places := differences(expected, found):
            raise NotSurvivedError(f"other content: {', '.join(places[:5])}")

    @property
    def changes(self) -> int:
        """How many changes on disk the last process made that lived to tell; 0 where none were counted."""
        file = changes_of(self.folder)
        return int(file.read_text()) if file.exists() else 0

    def outcome(self) -> dict[str, Any]:
        exact = self.command.exact
        names = {str(path.relative_to(self.folder)): path for path in self.folder.rglob("*") if path.is_file()}
        stray = (".txt", ".tmp") if exact else (".txt",)  # a killed compare may leave a temporary file
        return {name: content(path, exact=exact) for name, path in sorted(names.items()) if path.suffix not in stray}

    def remove(self) -> None:
        """Nothing of it is left."""
        shutil.rmtree(self.folder)
        for file in (self.talk, changes_of(self.folder)):
            file.unlink(missing_ok=True)

    def _files(self) -> Iterator[Path]:
        for path in self.folder.rglob("*"):
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(self.folder).parts):
                yield path

    def _said(self) -> str:
        return self.talk.read_text(errors="replace") if self.talk.exists() else ""

    def _last_words(self) -> str:
        return " / ".join(self._said().splitlines()[-3:])[-400:]
