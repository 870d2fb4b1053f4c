"""What every attack does: from a start, steps up the loss, each put back into the ball and kept to what the loss allows."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from typing import Any, Protocol, Self, final

import torch
from torch import Tensor

from ard.attacks.balls import Ball
from ard.core.errors import UserError
from ard.losses import AttackLoss, Loss


class Attack(ABC):
    """Searches an image near x at which a loss is high; knows a ball and a loss, nothing of labels, teachers or models.

    A new attack is a subclass that says where to begin and in which direction to step: `begin`, `direction`, `bound`, and
    then `reach` and `settings`. The search itself is the same for all, so a subclass that defines `__call__` is refused
    with a TypeError.

    Args:
        ball: The threat: which images may be chosen, and what "steepest" means.
        steps: How many times the gradient is asked for.
        step_size: The length of a step in the ball's norm. None: the ball's radius.
        keep_best: Whether to return the highest point of each example's path rather than its last.
    """

    def __init__(self, ball: Ball, *, steps: int = 1, step_size: float | None = None, keep_best: bool = False) -> None:
        self.ball, self.steps, self.keep_best = ball, steps, keep_best
        self.step_size = ball.eps if step_size is None else step_size

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__call__" in vars(cls):
            raise TypeError(
                f"{cls.__name__} defines __call__, which would leave out what a loss allows, its start and its centres: "
                "override begin, direction or bound of Attack"
            )

    def begin(self, x: Tensor, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        """Where the search begins if the loss does not say; x are the centres of the balls."""
        return x

    def uphill(self, gradient: Tensor, x_adv: Tensor, centre: Tensor) -> Tensor:  # noqa: ARG002
        """What is taken for the gradient at x_adv."""
        return gradient

    def direction(self, gradient: Tensor, memory: Any) -> tuple[Tensor, Any]:
        """Where to step, of norm 1, and what to be handed at the next step: None at the first, then what was returned."""
        return self.ball.steepest(gradient), memory

    def bound(self, x_adv: Tensor, centre: Tensor) -> Tensor:
        """The nearest image that the threat allows; an attack that leaves the ball by design keeps to [0, 1] at least."""
        return self.ball.project(x_adv, centre)

    @final
    def shortened(self, steps: int) -> Self:
        """The same search in another number of steps, over as long a way: each is step_size · (steps now) / steps long."""
        if steps == self.steps:
            return self
        other = copy(self)
        other.steps, other.step_size = steps, self.step_size * self.steps / steps
        return other

    @property
    def reach(self) -> float:
        """How far from its centre a point may end, in the ball's norm: eps, unless the attack leaves the ball by design."""
        return self.ball.eps

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The options that a record names, spelled out, so that no new attribute of an attack gets into records."""

    @final
    def __call__(self, loss: Loss, x: Tensor, generator: torch.Generator) -> Tensor:
        """Points near x at which the loss is higher.

        Args:
            loss: x' -> one number for each point; see AttackLoss for what more it may say.
            x: Images in [0, 1], shape (batch, channels, height, width).
            generator: Of the random start.

        Returns:
            One point for each image, or for each centre of the loss, within `reach` of it.

        Raises:
            UserError: Under inference mode, where there are no gradients.
        """
        loss = AttackLoss.of(loss)
        centre = AttackLoss.centre_of(loss, x)
        x_adv = self.begin(centre, generator) if loss.start is None else loss.start
        if self.keep_best:
            x_adv = loss.kept(x_adv, centre)  # the start may be what is returned
        best, highest, memory = x_adv, x.new_full((len(x_adv),), -torch.inf), None
        for _ in range(self.steps):
            value, gradient = ascent(loss, x_adv)
            loss.gradient = self.uphill(gradient, x_adv, centre)
            if self.keep_best:
                best, highest = _higher(best, highest, x_adv, value)
            move, memory = self.direction(loss.gradient, memory)
            x_adv = loss.kept(self.bound(x_adv + self.step_size * move, centre), centre)
        if self.keep_best:
            best, _ = _higher(best, highest, x_adv, ascent(loss, x_adv)[0])
        return best if self.keep_best else x_adv


class AttackFactory(Protocol):
    """Builds an attack once the ball is known: so a config names the threat once, and every attack shares it."""

    def __call__(self, ball: Ball) -> Attack: ...


def ascent(loss: Loss, x: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of every example, shape (batch,), and its gradient with respect to x; no parameter's `.grad` is touched.

    Examples are summed, not averaged, and float16 autocast is left for float32: a mean over the batch, or half
    precision, turns the gradients of confident examples into exact zeros.

    Raises:
        UserError: Under inference mode, and where the loss has no gradient in x.
    """
    if torch.is_inference_mode_enabled() or x.is_inference():
        raise UserError("an attack under inference mode has no gradient: use Trainer(inference_mode=False) or no_grad")
    with torch.enable_grad(), _no_float16(x.device.type):
        x = x.detach().requires_grad_()
        value = loss(x)
        (gradient,) = torch.autograd.grad(value.sum(), x, allow_unused=True) if value.requires_grad else (None,)
    if gradient is None:
        raise UserError(
            "an attack finds no gradient in the images: expected no torch.no_grad() or detach() in the network's forward"
        )
    return value.detach(), gradient


def _higher(best: Tensor, highest: Tensor, x_adv: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    better = value > highest
    return torch.where(better.view(-1, 1, 1, 1), x_adv, best), torch.where(better, value, highest)


def _no_float16(device_type: str) -> AbstractContextManager:
    if torch.is_autocast_enabled(device_type) and torch.get_autocast_dtype(device_type) == torch.float16:
        return torch.autocast(device_type, enabled=False)
    return nullcontext()
