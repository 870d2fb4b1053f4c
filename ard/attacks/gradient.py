"""The attacks of training: one gradient step or several."""

import warnings
from typing import Any, Literal

import torch
from torch import Tensor

from ard.attacks.balls import Ball
from ard.attacks.base import Attack
from ard.core.errors import UserError
from ard.core.ranges import one_of

PGDStart = Literal["uniform", "gaussian", "zero"]


class PGD(Attack):
    """Projected gradient ascent (Madry et al., ICLR 2018): x ← Π(x + step_size · steepest(∇loss(x))), `steps` times.

    Args:
        ball: The threat.
        steps: Number of steps, at least 1.
        relative_step: The step size in units of eps; None takes 2.5 eps / steps.
        start: Uniform in the ball, gaussian with standard deviation 0.001 (TRADES), or zero: the image itself.
        clamp_start: Whether the start is cut back to [0, 1], too. Some released codes do so only after the first step, whose
            gradient is then that of pixels outside: at a pixel that is 0 or 1 the path may be another.
        keep_best: Return the highest point of each example's path rather than its last; training leaves it off, as
            published.

    Raises:
        UserError: For no steps, a step that leads nowhere, or a start outside [0, 1] that might be returned; a step that
            can hardly be meant is a warning.
    """

    def __init__(
        self,
        ball: Ball,
        *,
        steps: int = 10,
        relative_step: float | None = None,
        start: PGDStart = "uniform",
        clamp_start: bool = True,
        keep_best: bool = False,
    ) -> None:
        if steps < 1:
            raise UserError(f"PGD with steps = {steps}: expected at least 1")
        if keep_best and not clamp_start:
            raise UserError("PGD with keep_best and clamp_start = false may return its start: expected one of the two")
        one_of(PGDStart, start=start)
        _check_step("PGD", relative_step, steps)
        step_size = ball.eps * (2.5 / steps if relative_step is None else relative_step)
        super().__init__(ball, steps=steps, step_size=step_size, keep_best=keep_best)
        self.start, self.clamp_start = start, clamp_start

    def begin(self, x: Tensor, generator: torch.Generator) -> Tensor:
        if self.start == "zero":
            return x
        noise = self._noise(x, generator)
        return self.ball.project(x + noise, x) if self.clamp_start else x + self.ball.shrink(noise)

    def _noise(self, x: Tensor, generator: torch.Generator) -> Tensor:
        if self.start == "uniform":
            return self.ball.uniform(x, generator)
        return 1e-3 * torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)

    @property
    def settings(self) -> dict[str, Any]:
        named = {name: getattr(self, name) for name in ("steps", "start", "keep_best", "step_size")}
        return named if self.clamp_start else named | {"clamp_start": False}


class UnstuckPGD(PGD):
    """PGD in which an image does not stay where its gradient is exactly 0: it moves on the way its random start went.

    A divergence from the network's own answer, as in TRADES, is flat at the image, and so near it that rounding sees no
    difference. Other images move as in PGD; arguments are those of PGD.
    """

    def uphill(self, gradient: Tensor, x_adv: Tensor, centre: Tensor) -> Tensor:
        flat = (gradient == 0).flatten(1).all(dim=1).view(-1, 1, 1, 1)
        return torch.where(flat, x_adv - centre, gradient)


class NFGSM(Attack):
    """Noise-FGSM (de Jorge et al., NeurIPS 2022, arXiv:2202.01181): x' = x + η + step_size · steepest(∇loss(x + η)).

    Nothing is projected back but the pixels' range, so x' may end up to (noise + relative_step) · eps away: `reach` says so.

    Args:
        ball: The threat.
        noise: The radius, in units of eps, of the ball in which η is uniform.
        relative_step: The step size in units of eps.

    Raises:
        UserError: For negative noise, or a step that leads nowhere; a step that can hardly be meant is a warning.
    """

    def __init__(self, ball: Ball, *, noise: float = 2.0, relative_step: float = 1.0) -> None:
        if noise < 0:
            raise UserError(f"NFGSM with noise = {noise}: expected at least 0, in units of eps")
        _check_step("NFGSM", relative_step)
        super().__init__(ball, step_size=relative_step * ball.eps)
        self.noise = noise

    def begin(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return (x + self.noise * self.ball.uniform(x, generator)).clamp(0, 1)

    def bound(self, x_adv: Tensor, centre: Tensor) -> Tensor:  # noqa: ARG002
        return x_adv.clamp(0, 1)

    @property
    def reach(self) -> float:
        return self.noise * self.ball.eps + self.step_size

    @property
    def settings(self) -> dict[str, Any]:
        return {"noise": self.noise, "step_size": self.step_size}


class FGSM(Attack):
    """The fast gradient sign method (Goodfellow et al., ICLR 2015): one step of eps from x itself.

    Args:
        ball: The threat.
    """

    def __init__(self, ball: Ball) -> None:
        super().__init__(ball)

    @property
    def settings(self) -> dict[str, Any]:
        return {}  # it has no options


def _check_step(name: str, relative_step: float | None, steps: int | None = None) -> None:
    """Raises UserError for a step that leads nowhere, and warns of one that hardly can be meant; None is always right."""
    if relative_step is None:
        return
    if not relative_step > 0:
        raise UserError(f"{name} with relative_step = {relative_step:g}: expected a step above 0, in units of eps")
    step = f"{name} with relative_step = {relative_step:g}"
    if relative_step > 2:
        warnings.warn(f"{step}, longer than the ball is wide: it counts in units of eps, expected at most 2", stacklevel=1)
    elif steps is not None and steps * relative_step < 1:
        warnings.warn(
            f"{step} and steps = {steps} gets {steps * relative_step:.2g} eps far: the step counts in units of eps, "
            "expected steps · relative_step of at least 1",
            stacklevel=1,
        )
