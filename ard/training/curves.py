"""How learning rate and momentum move over a run, beyond steps down."""

from collections.abc import Callable
from math import cos, pi
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR


class RateCurve(LambdaLR):
    """The rate is its highest times curve(step), which goes from 0 to 1; the momentum is the lower the higher the rate.

    momentum = highest − (highest − least) · curve(step), as torch's CyclicLR moves it; a group with a momentum of its own
    keeps that.

    Args:
        optimizer: What is stepped.
        curve: Steps done, from 0 -> share of the highest rate.
        steps: How many steps the curve goes over; a resumed run finds in `total_steps`, one more, as torch's curves have it.
        momentum: The highest momentum.
        least: The lowest; None leaves every momentum alone.
    """

    def __init__(
        self, optimizer: Optimizer, curve: Callable[[int], float], steps: int, momentum: float, least: float | None = None
    ) -> None:
        self.total_steps = steps + 1
        self.moving = moving(optimizer, momentum, least)
        super().__init__(optimizer, curve)

    def get_lr(self) -> list[float | Tensor]:
        for group, curve, (highest, least) in zip(self.optimizer.param_groups, self.lr_lambdas, self.moving, strict=False):
            group["momentum"] = highest - (highest - least) * curve(self.last_epoch)
        return super().get_lr()


def one_cycle(optimizer: Optimizer, steps: int, warmup: float, momentum: float, least: float | None) -> LRScheduler:
    """From a 25th of the rate up to it and down to nothing, each as half a cosine; the momentum the other way round."""
    options: dict[str, Any] = {"cycle_momentum": False}
    if least is not None:
        highest, lowest = zip(*moving(optimizer, momentum, least), strict=True)
        options = {"max_momentum": list(highest), "base_momentum": list(lowest)}
    peaks = [group["lr"] for group in optimizer.param_groups]
    return OneCycleLR(optimizer, peaks, total_steps=steps + 1, pct_start=warmup, **options)


def triangle(steps: int, warmup: float) -> Callable[[int], float]:
    """Straight from 0 to 1 in the share `warmup` of the steps, and straight to 0."""
    peak = warmup * steps
    return lambda step: step / peak if step < peak else (steps - step) / max(steps - peak, 1)


def cosine(steps: int, warmup: float) -> Callable[[int], float]:
    """Straight from 0 to 1 in the share `warmup` of the steps, then (1 + cos πt) / 2, t from 0 to 1 in the others."""
    peak = warmup * steps
    return lambda step: step / peak if step < peak else (1 + cos(pi * (step - peak) / max(steps - peak, 1))) / 2


def moving(optimizer: Optimizer, momentum: float, least: float | None) -> list[tuple[float, float]]:
    """The highest and the lowest momentum of each group; of one with a momentum of its own twice that. None move: empty."""
    if least is None:
        return []
    return [
        (momentum, least) if group["momentum"] == momentum else (group["momentum"], group["momentum"])
        for group in optimizer.param_groups
    ]
