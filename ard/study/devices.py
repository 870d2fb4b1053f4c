"""Which device each of several processes at a time may see."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Queue

from ard.core.cores import usable_cores
from ard.core.errors import UserError


class Devices:
    """Places for processes: `jobs` of them, each on one GPU in turn, of which it sees no other.

    With `jobs_per_device` that many on each GPU; with `devices` on so many of the GPUs, one process on each unless
    `jobs_per_device` says more. Raises UserError where there are fewer. Where a run is `shared` among GPUs, and neither is
    said, every process sees all.
    """

    def __init__(
        self, jobs: int, jobs_per_device: int | None = None, devices: int | None = None, *, shared: bool = False
    ) -> None:
        self._free: Queue[str | None] = Queue()
        there = visible_gpus()
        if devices is not None and devices > len(there):
            raise UserError(f"--devices {devices}: this process sees {len(there)} GPUs; expected at most that many")
        if devices is not None and jobs_per_device is None:
            jobs_per_device = 1
        gpus: list[str | None] = [*there[:devices]] or [None]
        if jobs_per_device is not None:
            places = gpus * jobs_per_device  # one on each before a second on any
        else:
            places = [None] * jobs if shared else [gpus[job % len(gpus)] for job in range(jobs)]
        self.count = len(places)
        for place in places:
            self._free.put(place)

    @contextmanager
    def place(self) -> Iterator[dict[str, str]]:
        """What a process needs in its environment to run at a place of its own; waits until one is free."""
        gpu = self._free.get()
        try:
            yield {"OMP_NUM_THREADS": str(self._threads), **({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu})}
        finally:
            self._free.put(gpu)

    @property
    def _threads(self) -> int:
        """Of each process: its share of the cores, and no more than OMP_NUM_THREADS allows this one."""
        share, allowed = usable_cores() // self.count, os.environ.get("OMP_NUM_THREADS", "")
        return max(1, min(share, int(allowed)) if allowed.isdecimal() else share)


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]
