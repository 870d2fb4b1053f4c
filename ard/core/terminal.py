"""What is said on the terminal: no run fails because its output has no reader, no room or no such letter."""

import errno
import io
import os
import sys
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

from ard.core.errors import UserError
from ard.core.text import printable

if TYPE_CHECKING:
    from rich.console import Console

LOST = (OSError, ValueError, AttributeError)  # no reader or room; closed, or no such letter; no stream at all


def say(text: object, *, error: bool = False) -> None:
    """One or more lines on stdout, or with `error` on stderr, at once and in one piece; never raises.

    What a terminal would obey is written out: names may be of files of anybody.
    """
    _write("\n".join(map(printable, str(text).split("\n"))), sys.stderr if error else sys.stdout)


def _write(text: str, to: Any) -> None:
    stream = _Heard(to)
    stream.write(f"{text}\n")
    stream.flush()


def hand_out(text: str) -> None:
    """The text that a command was called for, on stdout; raises UserError where it was not written to its end.

    A reader that went away has seen what it wanted.
    """
    _write(text.removesuffix("\n"), sys.stdout)
    failed = getattr(getattr(getattr(sys.stdout, "buffer", None), "raw", None), "failed", None)
    if failed is not None and failed.errno != errno.EPIPE:
        raise UserError(f"the output cannot be written ({failed.strerror}): what was written of it is not all")


def console(*, error: bool = False) -> "Console":
    """Rich's console on stdout, or with `error` on stderr, that never raises for what it prints."""
    from rich.console import Console

    stream: Any = _Heard(sys.stderr if error else sys.stdout)
    return Console(file=stream)


def secure_streams() -> None:
    """In a command: no write to stdout or stderr fails, whichever library makes it, up to the flush when Python ends.

    Where one of the first three descriptors is closed, it leads nowhere: else the next file that is opened gets its number,
    and with it what is printed.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.platform == "win32":  # its consoles are no files
        return
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__"):  # else somebody else takes what is printed
            setattr(sys, name, _unfailing(descriptor, stream))


class _Heard:
    """A text stream whose errors nobody sees, for what writes into a file."""

    def __init__(self, stream: IO[str] | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(*LOST):
            self._stream.write(text)  # type: ignore[union-attr]
        return len(text)

    def flush(self) -> None:
        with suppress(*LOST):
            self._stream.flush()  # type: ignore[union-attr]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Unfailing(io.FileIO):
    """A descriptor that takes everything; `failed` is the last error that it met."""

    failed: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            written = super().write(data)
        except OSError as error:
            self.failed, written = error, None
        return memoryview(data).nbytes if written is None else written  # None: a pipe that would block


def _unfailing(descriptor: int, before: Any) -> io.TextIOWrapper:
    """What Python made of a descriptor, if anything, made anew."""
    with suppress(*LOST):
        before.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Unfailing(descriptor, "w", closefd=False)),
        encoding=getattr(before, "encoding", "utf-8"),
        errors="backslashreplace",
        line_buffering=getattr(before, "line_buffering", True),
        write_through=getattr(before, "write_through", False),
    )
