"""What a run has cost up to now, over all its resumes: time, images and arithmetic."""

from typing import Any

import torch

from ard.core.flops import FlopCounter
from ard.training.device_clock import DeviceClock
from ard.training.stopwatch import Stopwatch


class WorkDone:
    """Told of every step; what it has counted is saved, and a resumed run goes on from there.

    The arithmetic of a step is counted at the first one of its kind, and taken for that of the others.
    """

    def __init__(self) -> None:
        self.counts: dict[str, Any] = {
            "seconds": 0.0,  # by the clock, with validation
            "images": 0,  # of all processes
            "flops": 0.0,  # likewise
            "flops_per_image": {},  # by the kind of step
            "device_seconds": 0.0,  # of this process's device, in training steps alone
        }
        self._watch = Stopwatch()
        self._device: DeviceClock | None = None
        self._kind = ""
        self._counter: FlopCounter | None = None

    def begin(self, device: torch.device) -> None:
        """Training begins."""
        self._watch.start()
        self._device = DeviceClock(device)

    def begin_step(self, kind: str) -> None:
        """A step begins; those of one kind cost the same for each image."""
        if self._device is not None:
            self._device.start()
        self._kind = kind
        if kind not in self.counts["flops_per_image"]:  # the run's first, whether or not this process was resumed
            self._counter = FlopCounter()
            self._counter.__enter__()

    def end_step(self, images: int, processes: int) -> None:
        """The step is done, on so many images in each process."""
        self.counts["images"] += images * processes
        if self._counter is not None:
            self.counts["flops_per_image"][self._kind] = self._counter.total / images
            self.give_up_step()
        self.counts["flops"] += self.counts["flops_per_image"][self._kind] * images * processes

    def give_up_step(self) -> None:
        """Count no more operations, though the step may have ended in an exception."""
        if self._counter is not None:
            self._counter.__exit__(None, None, None)
            self._counter = None

    def pause(self) -> None:
        """What the device does until the next step is no training."""
        if self._device is not None:
            self._device.stop()

    def up_to_now(self) -> dict[str, Any]:
        """The counts as they are at this moment."""
        self.counts["seconds"] += self._watch.taken()
        if self._device is not None:
            self.counts["device_seconds"] += self._device.taken()
        return {**self.counts, "flops_per_image": dict(self.counts["flops_per_image"])}

    def go_on_from(self, counts: dict[str, Any]) -> None:
        """Take the counts that a checkpoint holds."""
        self.counts = {name: counts[name] for name in self.counts}
