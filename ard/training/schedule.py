"""The training block every method and every baseline shares, so that a comparison compares methods."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, inf
from numbers import Real
from typing import Any, Literal

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR
from torch.optim.swa_utils import AveragedModel

from ard.core.errors import UserError
from ard.core.ranges import above, one_of
from ard.models.average import MovingAverage
from ard.training.curves import RateCurve, cosine, one_cycle, triangle
from ard.training.optimizers import OptimizerFactory, check_groups, check_optimizer

Schedule = Literal["multistep", "one_cycle", "triangular", "cosine"]
Monitor = Literal["val/robust_acc", "val/clean_acc"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """Optimiser, schedules, label smoothing and weight averaging; selection is by `monitor` on the validation split.

    Args:
        lr: The highest learning rate of the schedule.
        momentum: Of SGD.
        weight_decay: Of the optimiser, for every parameter of the student.
        nesterov: Whether the momentum of SGD is Nesterov's.
        optimizer: Another optimiser of lr and weight_decay than SGD, by its class: torch.optim.AdamW, and in Python
            partial(torch.optim.AdamW, betas=(0.9, 0.99)). null: SGD.
        schedule: multistep falls at the milestones; one_cycle rises and falls as a cosine; triangular rises straight from 0
            and falls straight to 0, which codes of fast training call cyclic; cosine rises straight from 0 and falls to 0 as
            half a cosine.
        milestones: Of multistep: when the rate falls, as fractions of training, so that its shape is that of any length.
        gamma: Of multistep: by what the rate is multiplied at each milestone.
        warmup: Of one_cycle, triangular and cosine: the share of training in which the rate rises.
        least_momentum: What the momentum of SGD falls to while the rate rises; it comes back as the rate falls. Not of
            multistep. null: it stays.
        label_smoothing: The share of a label that is spread over all classes.
        average: The decay of an exponential moving average of the student, which is then validated and selected (null:
            none); warmed up as min(average, (1 + n) / (10 + n)) over steps n = 1, 2, …, so that short runs can use it.
        monitor: What the best epoch is selected by, on the validation split.
        eps_ramp: Between which shares of training the radius rises from 0 to that of the threat, [0.26, 0.76] or [0, 1],
            see `radius_share`; validation keeps the whole radius. null: it is whole throughout.
        first_steps: With how many steps the attack of training begins, such as 2; over the epochs they grow to those that it
            has, each number for as long, see `attack_steps`; validation keeps its own. null: all of them throughout.
    """

    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    nesterov: bool = False
    optimizer: OptimizerFactory | None = None
    schedule: Schedule = "multistep"
    milestones: Sequence[float] = (0.5, 0.75)
    gamma: float = 0.1
    warmup: float = 0.3
    least_momentum: float | None = None
    label_smoothing: float = 0.0
    average: float | None = None
    monitor: Monitor = "val/robust_acc"
    eps_ramp: tuple[float, float] | None = None
    first_steps: int | None = None

    def __post_init__(self) -> None:
        one_of(Schedule, schedule=self.schedule)
        one_of(Monitor, monitor=self.monitor)
        if not all(0 < milestone <= 1 for milestone in self.milestones):
            raise UserError(f"milestones = {list(self.milestones)}: expected fractions of training in (0, 1], such as 0.5")
        largest = {"momentum": 1, "weight_decay": inf, "gamma": inf, "warmup": 1, "label_smoothing": 1}
        for name in ("lr", *largest):
            if not isinstance(getattr(self, name), Real):
                raise UserError(f"{name} = {getattr(self, name)}: expected a number")
        for name, most in largest.items():
            if not 0 <= getattr(self, name) <= most:
                raise UserError(
                    f"{name} = {getattr(self, name)}: expected at least 0" + (f", at most {most}" if most == 1 else "")
                )
        above(0, lr=self.lr)
        if self.average is not None and not 0 < self.average < 1:
            raise UserError(f"average = {self.average}: expected a decay in (0, 1), or null for no averaging")
        self._check_momentum()
        self._check_ramp()

    def _check_momentum(self) -> None:
        if self.optimizer is not None:
            check_optimizer(self.optimizer, self.lr, self.weight_decay)
            for name in ("momentum", "nesterov", "least_momentum"):
                if getattr(self, name) != getattr(Training, name):
                    raise UserError(f"{name} = {getattr(self, name)}: it is of SGD, and there is another optimizer")
        if self.nesterov and not self.momentum:
            raise UserError("nesterov = true: expected a momentum above 0")
        if self.least_momentum is not None and not 0 <= self.least_momentum <= self.momentum:
            raise UserError(
                f"least_momentum = {self.least_momentum}: expected from 0 to momentum = {self.momentum}, or null"
            )
        if self.least_momentum is not None and self.schedule == "multistep":
            raise UserError(f"least_momentum = {self.least_momentum}: multistep moves no momentum; expected null")
        if self.warmup != Training.warmup and self.schedule == "multistep":
            raise UserError(f"warmup = {self.warmup}: multistep has none; expected another schedule, or {Training.warmup}")

    def _check_ramp(self) -> None:
        shares = self.eps_ramp
        if shares is not None and not (len(shares) == 2 and 0 <= shares[0] < shares[1] <= 1):
            raise UserError(f"eps_ramp = {list(shares)}: expected two rising shares of training, such as [0.26, 0.76]")
        if self.first_steps is not None and self.first_steps < 1:
            raise UserError(
                f"first_steps = {self.first_steps}: expected at least 1, or null for an attack that does not grow"
            )

    def make_optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """The optimiser over the student's parameters and the objective's own.

        Raises UserError where these groups have settings of their own that the optimiser does not know.
        """
        if self.optimizer is not None:
            return check_groups(self.optimizer(groups, lr=self.lr, weight_decay=self.weight_decay), groups)
        return torch.optim.SGD(
            groups, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay, nesterov=self.nesterov
        )

    def scheduler(self, optimizer: torch.optim.Optimizer, steps: int) -> LRScheduler:
        """The schedule over `steps` optimiser steps; it is advanced after each."""
        if self.schedule == "one_cycle":
            return one_cycle(optimizer, steps, self.warmup, self.momentum, self.least_momentum)
        if self.schedule == "multistep":
            return MultiStepLR(optimizer, [round(m * steps) for m in self.milestones], self.gamma)
        curve = triangle(steps, self.warmup) if self.schedule == "triangular" else cosine(steps, self.warmup)
        return RateCurve(optimizer, curve, steps, self.momentum, self.least_momentum)

    def radius_share(self, done: float) -> float:
        """The share of the threat's radius, from 0 to 1, in an epoch at whose end the share `done` of training is done.

        Epoch e of E, from 0, has done = (e + 1) / E. So eps_ramp [0, 1] gives eps (e + 1) / E, which is IKL's; and [0.26,
        0.76] in 50 epochs gives 0 up to epoch 12 and the whole radius from epoch 37 on, which is eps scheduling (ICLR 2026,
        arXiv:2509.23325).
        """
        if self.eps_ramp is None:
            return 1.0
        start, end = self.eps_ramp
        return min(max((done - start) / (end - start), 0.0), 1.0)

    def attack_steps(self, begun: float, whole: int) -> int:
        """How many of its `whole` steps the attack takes in an epoch at whose start the share `begun` of training is done.

        From k = first_steps to K they are min(K, k + floor((K − k + 1) begun)): each number for an equal share of the
        epochs, (k + K) / 2 in the mean. As the way of the attack stays as long, see `Attack.shortened`, each of k steps is
        K / k times as long as those of K, so that PGD's default stays 2.5 eps / k. A single first step is FGSM from a
        random start, which a network can learn to fool: 2 or more do better.
        """
        if self.first_steps is None:
            return whole
        grown = floor((whole - self.first_steps + 1) * begun + 1e-9)  # of 7 / 9 · 9, too
        return min(whole, self.first_steps + grown)

    def averaged(self, student: nn.Module) -> AveragedModel | None:
        """The moving average of the student alone (never of a teacher), parameters and BatchNorm statistics."""
        if self.average is None:
            return None
        return MovingAverage(student, self.average)
