"""The training block every method and every baseline shares, so that a comparison compares methods."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Literal

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, MultiStepLR, OneCycleLR
from torch.optim.swa_utils import AveragedModel

from ard.core.errors import UserError
from ard.models.average import MovingAverage


@dataclass(frozen=True, kw_only=True)
class Training:
    """SGD, its schedule, label smoothing and weight averaging; selection is by `monitor` on the validation split.

    Args:
        lr: The highest learning rate of the schedule.
        momentum: Of SGD.
        weight_decay: Of SGD, for every parameter of the student.
        nesterov: Whether the momentum is Nesterov's.
        schedule: multistep falls at the milestones; one_cycle rises and falls as a cosine; triangular rises straight from 0
            and falls straight to 0, which codes of fast training call cyclic.
        milestones: Of multistep: when the rate falls, as fractions of training, so that its shape is that of any length.
        gamma: Of multistep: by what the rate is multiplied at each milestone.
        warmup: Of one_cycle and triangular: the share of training in which the rate rises.
        label_smoothing: The share of a label that is spread over all classes.
        average: The decay of an exponential moving average of the student, which is then validated and selected (null:
            none); warmed up as min(average, (1 + n) / (10 + n)) over steps n, so that short runs can use it.
        monitor: What the best epoch is selected by, on the validation split.
    """

    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    nesterov: bool = False
    schedule: Literal["multistep", "one_cycle", "triangular"] = "multistep"
    milestones: Sequence[float] = (0.5, 0.75)
    gamma: float = 0.1
    warmup: float = 0.3
    label_smoothing: float = 0.0
    average: float | None = None
    monitor: Literal["val/robust_acc", "val/clean_acc"] = "val/robust_acc"

    def __post_init__(self) -> None:
        if not all(0 < milestone <= 1 for milestone in self.milestones):
            raise UserError(f"milestones = {list(self.milestones)}: expected fractions of training in (0, 1], such as 0.5")
        for name, most in {
            "lr": inf,
            "momentum": 1,
            "weight_decay": inf,
            "gamma": inf,
            "warmup": 1,
            "label_smoothing": 1,
        }.items():
            if not 0 <= getattr(self, name) <= most:
                raise UserError(
                    f"{name} = {getattr(self, name)}: expected at least 0" + (f", at most {most}" if most == 1 else "")
                )
        if not self.lr:
            raise UserError(f"lr = {self.lr}: expected above 0")
        if self.nesterov and not self.momentum:
            raise UserError("nesterov = true: expected a momentum above 0")
        if self.average is not None and not 0 < self.average < 1:
            raise UserError(f"average = {self.average}: expected a decay in (0, 1), or null for no averaging")

    def optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.SGD:
        """SGD over the student's parameters and the objective's own."""
        return torch.optim.SGD(
            groups, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay, nesterov=self.nesterov
        )

    def scheduler(self, optimizer: torch.optim.Optimizer, steps: int) -> LRScheduler:
        """The schedule over `steps` optimiser steps; it is advanced after each."""
        if self.schedule == "one_cycle":
            peaks = [group["lr"] for group in optimizer.param_groups]
            return OneCycleLR(optimizer, peaks, total_steps=steps + 1, pct_start=self.warmup, cycle_momentum=False)
        if self.schedule == "triangular":
            peak = self.warmup * steps
            return LambdaLR(optimizer, lambda step: step / peak if step < peak else (steps - step) / max(steps - peak, 1))
        return MultiStepLR(optimizer, [round(m * steps) for m in self.milestones], self.gamma)

    def averaged(self, student: nn.Module) -> AveragedModel | None:
        """The moving average of the student alone (never of a teacher), parameters and BatchNorm statistics."""
        if self.average is None:
            return None
        return MovingAverage(student, self.average)
