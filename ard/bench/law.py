"""What a step costs as a line in the number of PGD steps, and in the batch size."""

import statistics
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from ard.bench.levers import BenchRow
from ard.bench.measure import rounds
from ard.bench.networks import NetworkNamed
from ard.bench.timed_step import TimedStep
from ard.core.terminal import say

SHIPPED = BenchRow(group="cost", lever="the shipped default")


def cost_laws(
    network: NetworkNamed, *, batch_size: int, steps: int, count: int, device: torch.device
) -> dict[str, dict[str, Any]]:
    """Seconds of the shipped ARD step on MobileNetV2 over PGD steps (batch fixed) and over batch sizes (PGD steps fixed)."""
    say("cost laws", error=True)
    timed = partial(TimedStep, SHIPPED, device=device, network=network)
    over_steps = [1, 2, 5, 10, 15]
    over_batch = [max(1, batch_size // part) for part in (4, 2, 1)]
    return {
        "PGD steps": _line(over_steps, [timed(batch_size=batch_size, steps=k) for k in over_steps], count),
        "batch size": _line(over_batch, [timed(batch_size=n, steps=steps) for n in over_batch], count),
    }


def _line(x: Sequence[int], steps: Sequence[TimedStep], count: int) -> dict[str, Any]:
    """Medians, and the line through them: slope, intercept and how much of the variance it explains."""
    seconds = [statistics.median(timing["step"]) for timing in rounds(steps, count)]
    slope, intercept = statistics.linear_regression(x, seconds)
    explained = statistics.correlation(x, seconds) ** 2
    return {"at": list(x), "seconds": seconds, "slope": slope, "intercept": intercept, "r_squared": explained}
