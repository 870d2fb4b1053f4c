"""Reading and writing files: what is written is whole or absent."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ard.core.errors import UserError
from ard.core.terminal import say


def write_whole(path: Path, data: bytes | str, *, through: Path | None = None) -> None:
    """Replace `path` atomically: the earlier file stays until the new content is safely on disk.

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
            discard(temporary)


def discard(path: Path) -> None:
    """Remove a file where that can be done: for cleaning up, whose errors must not take the place of those before."""
    with suppress(OSError):
        path.unlink()


def write_report(path: Path, text: str) -> None:
    """Write what is known of an error; where that cannot be done it is said, and the first error stays the error."""
    try:
        with or_user_error(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, text)
    except UserError as error:
        say(f"ard: warning: {error}", error=True)


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


def sha256(path: str | Path) -> str:
    """Hex digest of a file; raises UserError where there is none."""
    with open(existing(path), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


SUFFIXES = (".safetensors", ".ckpt", ".pt")
WEIGHTS = f"weights ({', '.join(SUFFIXES)})"
DEEPEST = 3  # folders in which weights are looked for, below one that was named in place of a file


def existing(path: str | Path, expected: str = WEIGHTS) -> Path:
    """The path of a file on this machine; raises UserError for anything else, addresses in the net included."""
    if "://" in str(path):
        raise UserError(f"{path}: nothing is loaded from the net; download it first, then name the file")
    if Path(path).is_dir():
        raise UserError(f"{path} is a folder; expected {expected}: it holds {_weights_below(Path(path))}")
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; expected {expected}")
    return Path(path)


def _weights_below(folder: Path) -> str:
    """The files to choose from: those in the folder, else those in the folders nearest below it."""
    for depth in range(DEEPEST):
        pattern = "*/" * depth + "*"
        files = sorted(file.relative_to(folder).as_posix() for suffix in SUFFIXES for file in folder.glob(pattern + suffix))
        if files:
            return f"{', '.join(files[:5])}{', …' if len(files) > 5 else ''}: name one of these"
    return "none: name a file, or the folder of a run that has ended"
