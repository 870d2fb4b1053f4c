"""How long a device works on training."""

import time

import torch


class DeviceClock:
    """Seconds between `start` and `stop`: of a CPU those of all threads together, of a GPU those by the clock.

    CPU seconds count threads that wait for each other, too: with more threads than free cores they mean little. A GPU is
    waited for, once at each stop.

    Args:
        device: What works.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._since: float | None = None
        self._sum = 0.0

    def start(self) -> None:
        """Count from now on, unless it does already."""
        if self._since is None:
            self._since = self._now()

    def stop(self) -> None:
        """Count no more until the next start."""
        if self._since is not None:
            self._sum, self._since = self._sum + self._now() - self._since, None

    def taken(self) -> float:
        """What was counted since this was asked last; it goes on."""
        counts = self._since is not None
        self.stop()
        seconds, self._sum = self._sum, 0.0
        if counts:
            self.start()
        return seconds

    def _now(self) -> float:
        if self.device.type == "cpu":
            return time.process_time()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.monotonic()
