"""How long a step takes and which share of it the attack."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class StepTimer:
    """Exact on the steps that are logged; in between nothing waits for the GPU."""

    def __init__(self) -> None:
        self.exact, self._device = False, torch.device("cpu")
        self._start = self._attack = 0.0

    def begin(self, device: torch.device, *, exact: bool) -> None:
        """At the beginning of a step."""
        self.exact, self._device = exact, device
        self._start, self._attack = self._now(), 0.0

    @contextmanager
    def attack(self) -> Iterator[None]:
        """Counts what runs inside as the attack's share of the step."""
        start = self._now()
        yield
        self._attack = self._now() - start

    def figures(self, images: int) -> dict[str, float]:
        """At the end of a step on this many images."""
        seconds = self._now() - self._start
        return {"train/images_per_s": images / seconds, "train/attack_share": self._attack / seconds}

    def _now(self) -> float:
        if self.exact and self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()
