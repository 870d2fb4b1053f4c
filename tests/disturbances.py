"""`ard` in forked processes whose disk, clock or data fail at a chosen moment, for the campaign of scripts/kills.py."""

import builtins
import io
import itertools
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interruptions import NO_CHECKOUT
from prepared import enter_pair

CHANGES = ("fsync", "link", "mkdir", "rename", "replace", "rmdir", "unlink")  # and each file opened to be written


def run(folder: Path, words: list[str], faults: tuple[Any, ...], environment: dict[str, str]) -> int:
    """`ard WORDS` in a folder in which these faults happen; how many changes on disk it made is in `changes_of(folder)`."""
    from ard.__main__ import main

    for stream in (1, 2):  # what is said after `main` has ended is heard, too
        os.dup2(sys.stdout.fileno(), stream)
    enter_pair({**NO_CHECKOUT, **environment})
    os.chdir(folder)
    for fault in faults:
        fault.install(str(folder))
    try:
        return main(words)
    except Exception:
        traceback.print_exc()
        return 1
    finally:
        for fault in faults:
            if isinstance(fault, Disk):
                changes_of(folder).write_text(str(fault.count))


def changes_of(folder: Path) -> Path:
    """Where the number of changes is written, beside the folder."""
    return folder.with_suffix(".changes")


@dataclass
class Disk:
    """In place of the `at`-th change below the folder: an error by its number, or a signal to the process itself.

    A file that is opened to be written is two changes: it cannot be opened, or what is written meets a full disk.
    """

    at: int
    error: int = 0
    signal: int = 0
    count: int = 0

    def install(self, folder: str) -> None:
        """Let all of this process's changes be counted from now on."""
        self.folder = folder + os.sep
        for name in CHANGES:
            setattr(os, name, self._changing(getattr(os, name)))
        builtins.open = io.open = self._opening(open)

    def _is_due(self, place: Any) -> bool:
        path = os.readlink(f"/proc/self/fd/{place}") if isinstance(place, int) else os.path.abspath(os.fsdecode(place))
        self.count += path.startswith(self.folder)
        return path.startswith(self.folder) and self.count == self.at

    def _fail(self, place: Any) -> None:
        if self.signal:
            os.kill(os.getpid(), self.signal)
        if self.error:
            raise OSError(self.error, os.strerror(self.error), str(place))

    def _changing(self, change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(place: Any, *rest: Any, **named: Any) -> Any:
            if self._is_due(place):
                self._fail(place)
            return change(place, *rest, **named)

        return changed

    def _opening(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        def opened(file: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
            writes = bool(set(mode) & set("wax+")) and not isinstance(file, int)
            if writes and self._is_due(file):
                self._fail(file)
            stream = plain(file, mode, *rest, **named)
            if writes and self._is_due(file):
                if self.signal:
                    os.kill(os.getpid(), self.signal)
                with plain("/dev/full", "wb") as full:
                    os.dup2(full.fileno(), stream.fileno())
            return stream

        return opened


@dataclass(frozen=True)
class Clock:
    """A clock that jumps by years, forwards and backwards."""

    seed: int

    def install(self, folder: str) -> None:  # noqa: ARG002
        """Let it jump at every tenth look, on average."""
        draw, plain, shift = random.Random(self.seed), time.time, [0.0]

        def jumping() -> float:
            if draw.random() < 0.1:
                shift[0] = draw.uniform(-1e8, 1e8)
            return plain() + shift[0]

        time.time = jumping


@dataclass(frozen=True)
class Vanishing:
    """The data folder `data` becomes `data.gone` when the `at`-th image is decoded."""

    at: int

    def install(self, folder: str) -> None:
        """Count the images from now on."""
        from ard.data import image_folder

        decode, images = image_folder.decode, itertools.count(1)

        def decoded(*arguments: Any) -> Any:
            if next(images) == self.at:
                os.rename(f"{folder}/data", f"{folder}/data.gone")
            return decode(*arguments)

        image_folder.decode = decoded


def is_stopped(process: int) -> bool:
    """Whether a process waits for SIGCONT."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def running_in(folder: Path) -> list[int]:
    """The processes whose current folder this is, or lies below it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            place = os.readlink(process / "cwd")
        except OSError:
            continue
        if Path(place).is_relative_to(folder):
            found.append(int(process.name))
    return found


KILL, STOP = signal.SIGKILL, signal.SIGSTOP
