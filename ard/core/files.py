"""Reading and writing files: what is read is a regular file of a bounded size, what is written is whole or absent."""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from tempfile import NamedTemporaryFile

from ard.core.errors import UserError
from ard.core.terminal import say
from ard.core.text import first_few

FILE_KINDS = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
WAITLESS = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)  # else a pipe waits until somebody opens its other end
UNKNOWN = 2**16  # bytes of a file of the system, which says that it is empty
SMALL = 16 * 2**20  # bytes: more than any record, configuration or digest that we write


def open_regular(path: str | Path) -> BufferedReader:
    """A file opened to be read; raises ValueError where it is a pipe or a device, which may never end or never begin."""
    descriptor = os.open(path, os.O_RDONLY | WAITLESS)
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind == stat.S_IFREG:
        return open(descriptor, "rb")
    os.close(descriptor)
    raise ValueError(f"{FILE_KINDS.get(kind, 'a device')}, no regular file")


def no_link(path: str, flags: int) -> int:
    """An `opener` for files that are written where they lie: a folder from somebody else may hold a link to another file.

    Raises UserError for a link.
    """
    try:
        return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)
    except OSError as error:
        if os.path.islink(path):
            raise UserError(f"{path} is a link; expected a file, or nothing: remove it") from error
        raise


def small_text(path: str | Path, most: int = SMALL) -> str:
    """The text of a small file; raises OSError or ValueError for anything but UTF-8 in a regular file of that size."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        expected = min(most, max(size, UNKNOWN))
        content = file.read(expected + 1) if size <= most else b""
    if max(size, len(content)) > expected:
        raise ValueError(f"{max(size, len(content))} bytes, at most {expected}")
    return content.decode()


def write_whole(path: Path, data: bytes | str, *, through: Path | None = None) -> None:
    """Replace `path` atomically: the earlier file stays until the new content is safely on disk.

    A process that dies leaves at most a temporary file, beside `path` or in the folder `through` of the same file system.
    Raises UserError where the file cannot be written.
    """
    temporary = (through or path.parent) / f".{path.name}.{os.getpid()}.tmp"  # two processes may write the same file
    with or_user_error(path):
        try:
            with open(temporary, "wb") as file:
                file.write(data.encode(errors="backslashreplace") if isinstance(data, str) else data)  # any name of a file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync_folder(path.parent)
        finally:
            discard(temporary)


def check_writable(path: Path) -> None:
    """Raises UserError where write_whole could not write `path`: before the work of which the result is to be kept."""
    with or_user_error(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}."):
            pass


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
    """Hex digest of a file; raises UserError where there is none, or none that may be read."""
    with readable(existing(path)) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def replaced_since(read: Mapping[str, str]) -> list[str]:
    """A line for each file that no longer holds what was read from it; `read` has the SHA-256 of that by path."""
    lines = []
    for path, used in read.items():
        try:
            now = sha256(path)
        except ValueError:  # gone, or no file that may be read
            now = "nothing"
        if now != used:
            lines.append(f"{path} was replaced while it was in use: SHA-256 {used[:12]}… was used, {now[:12]}… is there now")
    return lines


@contextmanager
def readable(path: Path) -> Iterator[BufferedReader]:
    """A file that is there, opened; where it may not be read, that is a UserError of one line."""
    try:
        with open_regular(path) as file:
            yield file
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror or error}); expected a file that this user may read"
        ) from error


SUFFIXES = (".safetensors", ".ckpt", ".pt")
WEIGHTS = f"weights ({', '.join(SUFFIXES)})"
BESIDE = tuple(
    f".{name}.safetensors" for name in ("adversarial", "shown", "pictures")
)  # tensors beside a record: no weights
DEEPEST = 3  # folders in which weights are looked for, below one that was named in place of a file


def existing(path: str | Path, expected: str = WEIGHTS) -> Path:
    """The path of a file on this machine; raises UserError for anything else, addresses in the net included."""
    if "://" in str(path):
        raise UserError(f"{path}: nothing is loaded from the net; download it first, then name the file")
    kind = kind_of(path)
    if stat.S_ISDIR(kind):
        raise UserError(f"{path} is a folder; expected {expected}: it holds {_weights_below(Path(path))}")
    if not stat.S_ISREG(kind):
        raise UserError(f"{path}: no {'regular' if kind else 'such'} file; expected {expected}")
    return Path(path)


def kind_of(path: str | Path, *, follow: bool = True) -> int:
    """What a path names, as a file mode, 0 where nothing is there; raises UserError where that may not be known.

    Links are followed, unless told otherwise.
    """
    try:
        return os.stat(path, follow_symlinks=follow).st_mode
    except PermissionError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); expected a folder that this user may read") from error
    except (OSError, ValueError):
        return 0


def _weights_below(folder: Path) -> str:
    """The files to choose from: those in the folder, else those in the folders nearest below it."""
    for depth in range(DEEPEST):
        pattern = "*/" * depth + "*"
        found = (file.relative_to(folder).as_posix() for suffix in SUFFIXES for file in folder.glob(pattern + suffix))
        files = sorted(name for name in found if not name.endswith(BESIDE))
        if files:
            return f"{first_few(files)}: name one of these"
    return "none: name a file, or the folder of a run that has ended"
