"""A block that must end: an alarm that nothing under test can swallow."""

import signal
from contextlib import contextmanager

SECONDS = 20  # for one input: far above what any takes, far below for ever


class TooLong(BaseException):
    """Not an Exception: nothing under test may take it for one of its own."""


@contextmanager
def in_time(seconds=SECONDS):
    """Raises TooLong where the block takes longer."""

    def stop(*_):
        raise TooLong(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
