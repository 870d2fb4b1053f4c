"""Attacks that climb a function of the image: they know a ball and a loss, nothing of labels, teachers or models."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, Protocol

import torch
from torch import Tensor

from ard.attacks.balls import Ball
from ard.core.errors import UserError

Loss = Callable[[Tensor], Tensor]  # x' -> one number per example, shape (batch,)


class Attack(ABC):
    """Climbs `loss` from x, shape (batch, channels, height, width) in [0, 1], and returns x' of the same shape.

    Where the loss has a rule `allowed`, x' -> one bool per example, a step to a point that it forbids ends at x instead.
    """

    def __init__(self, ball: Ball) -> None:
        self.ball = ball

    @property
    def reach(self) -> float:
        """How far from x the attack may end, in the ball's norm: eps, unless the method leaves the ball by design."""
        return self.ball.eps

    @abstractmethod
    def __call__(self, loss: Loss, x: Tensor, generator: torch.Generator) -> Tensor:
        """An image within `reach` of x at which `loss` is higher."""


class AttackFactory(Protocol):
    """An attack that still wants its ball: so the threat stands once in a config, and every attack shares it."""

    def __call__(self, ball: Ball) -> Attack: ...


class PGD(Attack):
    """Projected gradient ascent (Madry et al., ICLR 2018): x ← Π(x + step_size · steepest(∇loss(x))), `steps` times.

    `relative_step` is the step size in units of eps; None takes 2.5 eps / steps. `start` is uniform in the ball,
    gaussian with standard deviation 0.001 (TRADES), or zero. `keep_best` returns the highest point of each example's
    path rather than its last; training leaves it off, as published. Raises UserError under inference mode.
    """

    def __init__(
        self,
        ball: Ball,
        *,
        steps: int = 10,
        relative_step: float | None = None,
        start: Literal["uniform", "gaussian", "zero"] = "uniform",
        keep_best: bool = False,
    ) -> None:
        super().__init__(ball)
        if steps < 1:
            raise UserError(f"PGD with steps = {steps}: expected at least 1")
        _check_step("PGD", relative_step, steps)
        self.steps, self.start, self.keep_best = steps, start, keep_best
        self.step_size = ball.eps * (2.5 / steps if relative_step is None else relative_step)

    def __call__(self, loss: Loss, x: Tensor, generator: torch.Generator) -> Tensor:
        x_adv = self._start(x, generator)
        best, highest = x_adv, x.new_full((len(x),), -torch.inf)
        for _ in range(self.steps):
            value, gradient = ascent(loss, x_adv)
            if self.keep_best:
                best, highest = _higher(best, highest, x_adv, value)
            x_adv = _allowed(loss, self.ball.project(x_adv + self.step_size * self.ball.steepest(gradient), x), x)
        if self.keep_best:
            best, _ = _higher(best, highest, x_adv, ascent(loss, x_adv)[0])
        return best if self.keep_best else x_adv

    def _start(self, x: Tensor, generator: torch.Generator) -> Tensor:
        if self.start == "zero":
            return x
        if self.start == "uniform":
            return self.ball.project(x + self.ball.uniform(x, generator), x)
        noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        return self.ball.project(x + 1e-3 * noise, x)


class NFGSM(Attack):
    """Noise-FGSM (de Jorge et al., NeurIPS 2022, arXiv:2202.01181): x' = x + η + step_size · steepest(∇loss(x + η)).

    η is uniform in the ball of radius noise · eps; nothing is projected back but the pixels' range, so x' may end up to
    (noise + relative_step) · eps away: `reach` says so.
    """

    def __init__(self, ball: Ball, *, noise: float = 2.0, relative_step: float = 1.0) -> None:
        super().__init__(ball)
        if noise < 0:
            raise UserError(f"NFGSM with noise = {noise}: expected at least 0, in units of eps")
        _check_step("NFGSM", relative_step)
        self.noise, self.step_size = noise, relative_step * ball.eps

    @property
    def reach(self) -> float:
        return self.noise * self.ball.eps + self.step_size

    def __call__(self, loss: Loss, x: Tensor, generator: torch.Generator) -> Tensor:
        start = (x + self.noise * self.ball.uniform(x, generator)).clamp(0, 1)
        _, gradient = ascent(loss, start)
        return _allowed(loss, (start + self.step_size * self.ball.steepest(gradient)).clamp(0, 1), x)


class FGSM(Attack):
    """The fast gradient sign method (Goodfellow et al., ICLR 2015): one step of eps from x itself."""

    def __call__(self, loss: Loss, x: Tensor, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        _, gradient = ascent(loss, x)
        return _allowed(loss, self.ball.project(x + self.ball.eps * self.ball.steepest(gradient), x), x)


def ascent(loss: Loss, x: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of every example, shape (batch,), and its gradient with respect to x; no parameter's `.grad` is touched.

    Examples are summed, not averaged, and float16 autocast is left for float32: a mean over the batch, or half
    precision, turns the gradients of confident examples into exact zeros.
    """
    if torch.is_inference_mode_enabled() or x.is_inference():
        raise UserError("an attack under inference mode has no gradient: use Trainer(inference_mode=False) or no_grad")
    with torch.enable_grad(), _no_float16(x.device.type):
        x = x.detach().requires_grad_()
        value = loss(x)
        (gradient,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), gradient


class Counted:
    """Makes a loss for an attack out of one that answers with a pair; `count`, (batch,), sums the second along the path."""

    def __init__(self, loss: Callable[[Tensor], tuple[Tensor, Tensor]]) -> None:
        self.loss, self.count = loss, torch.zeros(())

    def __call__(self, x_adv: Tensor) -> Tensor:
        value, counted = self.loss(x_adv)
        self.count = self.count.to(counted.device) + counted.detach()
        return value


def _check_step(name: str, relative_step: float | None, steps: int | None = None) -> None:
    """Raises UserError for a step that leads nowhere, and warns of one that hardly can be meant; None is always right."""
    if relative_step is None:
        return
    if not relative_step > 0:
        raise UserError(f"{name} with relative_step = {relative_step:g}: expected a step above 0, in units of eps")
    found = f"{name} with relative_step = {relative_step:g}"
    if relative_step > 2:
        warnings.warn(f"{found}, longer than the ball is wide: it counts in units of eps, expected at most 2", stacklevel=1)
    elif steps is not None and steps * relative_step < 1:
        warnings.warn(
            f"{found} and steps = {steps} gets {steps * relative_step:.2g} eps far: the step counts in units of eps, "
            "expected steps · relative_step of at least 1",
            stacklevel=1,
        )


@torch.no_grad()
def _allowed(loss: Loss, x_adv: Tensor, x: Tensor) -> Tensor:
    rule = getattr(loss, "allowed", None)
    return x_adv if rule is None else torch.where(rule(x_adv).view(-1, 1, 1, 1), x_adv, x)


def _higher(best: Tensor, highest: Tensor, x_adv: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    better = value > highest
    return torch.where(better.view(-1, 1, 1, 1), x_adv, best), torch.where(better, value, highest)


def _no_float16(device_type: str) -> AbstractContextManager:
    if torch.is_autocast_enabled(device_type) and torch.get_autocast_dtype(device_type) == torch.float16:
        return torch.autocast(device_type, enabled=False)
    return nullcontext()
