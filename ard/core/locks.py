"""One process at a time in a folder."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ard.core.errors import UserError
from ard.core.files import or_user_error

try:
    import fcntl
except ImportError:  # Windows: nobody is kept out
    fcntl = None  # type: ignore[assignment]


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Hold a run's directory against other runs; raises UserError where another one holds it or nothing can be written.

    A directory that is still empty at the end, because the run was refused, goes again.
    """
    made = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    lock = directory / ".lock"
    with or_user_error(directory):
        directory.mkdir(parents=True, exist_ok=True)
        file = _locked(lock)
    try:
        sweep(directory)
        yield
    finally:
        if fcntl is None:
            file.close()  # Windows deletes no file that is open
        with suppress(OSError):
            lock.unlink(missing_ok=True)
        file.close()
        with suppress(OSError):
            for folder in made:
                folder.rmdir()


def _locked(lock: Path) -> IO[str]:
    """The open lock file; the lock is the process's, so it ends with it, and no worker inherits it."""
    while True:
        file = open(lock, "a+", encoding="utf-8")  # noqa: SIM115
        try:
            if fcntl is not None:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            file.seek(0)
            holder = file.read().strip()
            file.close()
            raise UserError(
                f"{lock.parent}: another run is writing here ({holder or 'of an unknown process'}); expected one at a time: "
                "wait for it, or choose another --out"
            ) from error
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
            file.unlink(missing_ok=True)
