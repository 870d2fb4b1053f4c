"""A run's directory: one run at a time, nothing left over from a killed one, and room for what will be written."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from torch import nn

from ard.errors import UserError
from ard.files import or_user_error

try:
    import fcntl
except ImportError:  # Windows: nobody is kept out
    fcntl = None  # type: ignore[assignment]

KEPT = 3  # last, previous, best
SLACK = 1 << 16  # of a checkpoint: everything that is no tensor


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
        lock.unlink(missing_ok=True)
        file.close()
        with suppress(OSError):
            for folder in made:
                folder.rmdir()


def _locked(lock: Path) -> IO[str]:
    """The open lock file; the lock is the process's, so it ends with it, and no worker inherits it."""
    while True:
        file = open(lock, "a+")  # noqa: SIM115
        try:
            if fcntl is not None:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            file.seek(0)
            holder = file.read().strip()
            file.close()
            raise UserError(
                f"{lock.parent}: another run is writing here ({holder or 'of an unknown process'}); expected one at a time: "
                "wait for it, or choose another --trainer.default_root_dir"
            ) from error
        if lock.exists() and lock.stat().st_ino == os.fstat(file.fileno()).st_ino:  # else its holder took it away just now
            file.truncate(0)
            file.write(f"process {os.getpid()} on {os.uname().nodename}")
            file.flush()
            return file
        file.close()


def sweep(directory: Path) -> None:
    """Remove the temporary files of a writer that was killed; those of an evaluation are its own."""
    for file in directory.glob(".*.tmp"):
        if "evaluation" not in file.name:
            file.unlink(missing_ok=True)


def checkpoint_size(model: nn.Module) -> int:
    """Bytes of a checkpoint: weights, buffers, momentum."""
    momentum = sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)
    return SLACK + momentum + sum(value.nbytes for value in model.state_dict().values())


def check_room(directory: Path, model: nn.Module) -> None:
    """Raises UserError where the checkpoints to come do not fit: those that are kept, and the next before one goes."""
    size = checkpoint_size(model)
    count = KEPT + 2 - len(list(directory.glob("*.ckpt")))
    files = [directory / f".room{number}.tmp" for number in range(max(count, 2))]
    try:
        for file in files:
            _reserve(file, size)
    except OSError as error:
        raise UserError(
            f"{directory}: no room for checkpoints ({error.strerror}): expected {len(files)} times {size / 1e6:.1f} MB"
        ) from error
    finally:
        for file in files:
            file.unlink(missing_ok=True)


def _reserve(file: Path, size: int) -> None:
    """Really, not by asking how much is free: quotas and limits on files say no only then."""
    with open(file, "wb") as opened:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(opened.fileno(), 0, size)
        elif shutil.disk_usage(file.parent).free < size:
            raise OSError(28, "No space left on device")
