"""How fast a run is and how long its rest will take; clocks are read, the device is never waited for."""

import time
from collections.abc import Callable

WARM_UP = 2  # steps of a run that say little: kernels are chosen, memory is taken, the attack is captured as a graph


class Pace:
    """The time of this process's steps, and of what lies between its epochs: validation, guards, checkpoints."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.steps, self.seconds, self.between = 0, 0.0, 0.0
        self.warming = 0.0  # seconds of the first steps
        self._images, self._begun, self._ended = 0, None, None  # type: int, float | None, float | None

    def begin_step(self) -> None:
        """At the first step of an epoch, what went before since the last one is known."""
        if self._begun is None:
            self._begun = self.clock()
            self.between = self._begun - self._ended if self._ended is not None else self.between

    def end_step(self, images: int) -> None:
        """After a step on this many images, on all devices together."""
        self._ended = self.clock()
        self.steps, self._images = self.steps + 1, self._images + images
        if self.steps <= WARM_UP:
            self.warming = self.running

    def end_epoch(self) -> float | None:
        """Images a second of the epoch's steps; None where there were none. To be called after its validation."""
        if self._begun is None or self._ended is None:
            return None
        seconds, images = self.running - self.seconds, self._images
        self.seconds, self.between = self.seconds + seconds, self.clock() - self._ended
        self._images, self._begun = 0, None
        return images / seconds if seconds else None

    @property
    def running(self) -> float:
        """Seconds of all steps up to now."""
        if self._begun is None or self._ended is None:
            return self.seconds
        return self.seconds + max(0.0, self._ended - self._begun)  # its first step may not have ended

    @property
    def speed(self) -> float | None:
        """Images a second in the epoch under way."""
        seconds = self.running - self.seconds
        return self._images / seconds if seconds > 0 else None

    def left(self, steps: float, validations: int) -> float | None:
        """Seconds that so many more steps and validations will take; None where nothing was timed yet."""
        timed = self.steps - WARM_UP
        return (self.running - self.warming) / timed * steps + self.between * validations if timed > 0 else None
