"""The exceptions a user may see."""

from ard.core.text import printable

LONGEST = 1000  # characters; what a file says of itself can be megabytes


class UserError(ValueError):
    """An error that the user can correct; its message is one line: what is wrong, what was expected, what to do.

    It stays one line of at most LONGEST printable characters whatever names a file makes up. Of the traceback into which a
    DataLoader worker turns it, the message remains.
    """

    def __init__(self, message: object = "") -> None:
        text = str(message)
        if "\nOriginal Traceback" in text:
            text = text.strip().rpartition(f"{type(self).__name__}: ")[2]
        text = text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} … {text[-LONGEST // 3 :]}"
        text = " ".join(line.strip() for line in text.splitlines() if line.strip())
        super().__init__(printable(text))


class StoppedError(UserError):
    """A run that a guard ended, because continuing would waste time or damage its files."""
