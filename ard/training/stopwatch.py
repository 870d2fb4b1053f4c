"""How long a run trains, by the clock."""

import time


class Stopwatch:
    """Counts from `start` on and nothing before: a run that is resumed behind its last step trains no more."""

    def __init__(self) -> None:
        self._since: float | None = None

    def start(self) -> None:
        self._since = time.monotonic()

    def taken(self) -> float:
        """The seconds since this was asked last; it goes on."""
        since, now = self._since, time.monotonic()
        if since is None:
            return 0.0
        self._since = now
        return now - since
