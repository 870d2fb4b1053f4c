"""One process at a time in a folder."""

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ard.core.errors import UserError
from ard.core.files import discard, no_link, or_user_error
from ard.core.terminal import say

try:
    import fcntl
except ImportError:  # Windows: nobody is kept out
    fcntl = None  # type: ignore[assignment]

LOCK, POLL = ".lock", 0.2  # the name of the file; seconds
RUN = "another run is writing here ({holder}); expected one at a time: wait for it, or choose another --out"


@contextmanager
def alone(directory: Path, patience: float = 0.0, refusal: str = RUN) -> Iterator[None]:
    """Hold a directory, swept of what a killed process left; raises UserError where another process holds it.

    Waits `patience` seconds for the other one to end; then `refusal` says what to do, and {holder} who it is.
    Raises UserError where nothing can be written, or not be read again, too. A directory that is still empty at the end,
    because the run was refused, goes again.
    """
    _check_name(directory)
    made = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    lock = directory / LOCK
    with or_user_error(directory):
        directory.mkdir(parents=True, exist_ok=True)
        file = _waited_for(lock, refusal, patience)
    try:
        sweep(directory)
        yield
    finally:
        if fcntl is None:
            file.close()  # Windows deletes no file that is open
        discard(lock)
        file.close()
        with suppress(OSError):
            for folder in made:
                folder.rmdir()


def _check_name(directory: Path) -> None:
    """A run would end, hours later, with checkpoints that torch cannot open."""
    try:
        str(directory.resolve()).encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{directory}: a name in its path is not UTF-8; expected one that is: rename it") from error


def _waited_for(lock: Path, refusal: str, patience: float) -> IO[str]:
    deadline, told = time.monotonic() + patience, False
    while isinstance(found := _locked(lock), str):
        holder = found or "of an unknown process"
        if time.monotonic() >= deadline:
            raise UserError(f"{lock.parent}: {refusal.format(holder=holder)}")
        if not told:
            say(f"{lock.parent}: waiting for what is still writing here to end ({holder})")
            told = True
        time.sleep(POLL)
    return found


def _locked(lock: Path) -> IO[str] | str:
    """The open lock file, or what its holder wrote; the lock is the process's: it ends with it, no worker inherits it."""
    while True:
        file = open(lock, "a+", encoding="utf-8", errors="replace", opener=no_link)  # noqa: SIM115
        try:
            if fcntl is not None:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            with file:
                file.seek(0)
                return file.read(200).strip()
        if lock.exists() and lock.stat().st_ino == os.fstat(file.fileno()).st_ino:  # else its holder took it away just now
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}")
            file.flush()
            return file
        file.close()


def sweep(directory: Path) -> None:
    """Remove the temporary files of a writer that was killed; those of an evaluation are its own."""
    for file in directory.glob(".*.tmp"):
        if "evaluation" not in file.name:
            discard(file)
