"""Writing files that are whole or absent."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ard.errors import UserError


def write_whole(path: Path, data: bytes | str, *, through: Path | None = None) -> None:
    """Replace `path` atomically: what stood there before stays until the new content is safely on disk.

    A process that dies leaves at most a temporary file, beside `path` or in the folder `through` of the same file system.
    Raises UserError where the file cannot be written.
    """
    temporary = (through or path.parent) / f".{path.name}.{os.getpid()}.tmp"  # two processes may write the same file
    with or_user_error(path):
        try:
            with open(temporary, "wb") as file:
                file.write(data.encode() if isinstance(data, str) else data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def or_user_error(path: Path) -> Iterator[None]:
    """A block that writes `path`: where the disk refuses, that is a UserError of one line."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason: BaseException | None = error
        while reason is not None and not isinstance(reason, OSError):  # torch hides a full disk behind an error of its own
            reason = reason.__cause__ or reason.__context__
        if reason is None:
            raise
        raise UserError(f"{path}: cannot be written ({reason.strerror or reason})") from error


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut, where the file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
