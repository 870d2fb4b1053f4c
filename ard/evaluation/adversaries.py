"""Adversaries of the evaluation: they know the labels, and attack each image until it is misclassified."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ard.attacks import Attack, Ball
from ard.losses import Loss, kl, margin

LabelLoss = Callable[[Tensor, Tensor], Tensor]  # logits, y -> (batch,)
Goal = Callable[[nn.Module, Tensor, Tensor], Loss]  # model, x, y -> what to maximise


@dataclass(frozen=True, kw_only=True)
class Adversary(ABC):
    """adversary(model, x, y, generator) -> x' of x's shape (batch, C, H, W) in [0, 1].

    `after` names earlier adversaries: images that they already fooled the model with are not shown to this one. A `probe` is
    measured but no part of the worst case: another radius, another norm, a corruption. `ball` is where x' must be, None
    where there is no such bound. It is shown every `every`-th image of the set.
    """

    name: str
    ball: Ball | None
    after: tuple[str, ...] = ()
    probe: bool = False
    group: str | None = None
    every: int = 1

    @abstractmethod
    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Images that should be misclassified; where the attack failed, any image inside the ball."""

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The settings with which the same attack can be run again."""

    @property
    @abstractmethod
    def passes(self) -> float:
        """Its cost for an image that is never misclassified, in forward-backward passes."""


@dataclass(frozen=True, kw_only=True)
class GradientAdversary(Adversary):
    """A gradient attack on one goal after another: restarts, targets or a loss of its own; see `untargeted`."""

    attack: Attack
    loss: str
    goals: Sequence[Goal]

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        tries = [partial(self._pursue, goal, model, generator) for goal in self.goals]
        return first_success(model, x, y, tries)

    def _pursue(self, goal: Goal, model: nn.Module, generator: torch.Generator, x: Tensor, y: Tensor) -> Tensor:
        return self.attack(goal(model, x, y), x, generator)

    @property
    def settings(self) -> dict[str, Any]:
        about = {"attack": type(self.attack).__name__, "loss": self.loss, "runs": len(self.goals)}
        return about | self.attack.settings

    @property
    def passes(self) -> float:
        return len(self.goals) * self.attack.steps / self.every


@dataclass(frozen=True, kw_only=True)
class Squares(Adversary):
    """Random search with squares of full length, kept where the margin rises: Square of Andriushchenko et al. (ECCV 2020)
    in brief, for a look that needs no gradient and no library.
    """

    ball: Ball
    queries: int

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        stripes = self._signs(x, (len(x), x.shape[1], 1, x.shape[3]), generator)
        best = self._placed(x, stripes.expand_as(x), x)
        highest = self._margin(model, best, y)
        for query in range(1, self.queries):
            hard = (highest <= 0).nonzero().squeeze(1)
            if not len(hard):
                break
            tried = self._placed(best[hard], self._square(x[hard], 1 - query / self.queries, generator), x[hard])
            value = self._margin(model, tried, y[hard])
            better = value > highest[hard]
            best[hard[better]], highest[hard[better]] = tried[better], value[better]
        return best

    @property
    def settings(self) -> dict[str, Any]:
        return {"attack": "Squares", "queries": self.queries}

    @property
    def passes(self) -> float:
        return self.queries / 3 / self.every

    def _square(self, x: Tensor, left: float, generator: torch.Generator) -> Tensor:
        """For each image one square of ±1 a channel, elsewhere 0; its share of the image shrinks from 0.3 to a pixel."""
        height, width = x.shape[2:]
        side = max(1, round((0.3 * left**2 * height * width) ** 0.5))
        inside = [
            (
                torch.arange(size, device=x.device)
                - torch.randint(max(1, size - side + 1), (len(x), 1), generator=generator, device=x.device)
            )
            for size in (height, width)
        ]
        rows, columns = ((place >= 0) & (place < side) for place in inside)
        return self._signs(x, (*x.shape[:2], 1, 1), generator) * (rows[:, None, :, None] & columns[:, None, None, :])

    def _placed(self, x_adv: Tensor, signs: Tensor, x: Tensor) -> Tensor:
        length = self.ball.eps * self.ball.steepest(signs)
        return self.ball.project(torch.where(signs == 0, x_adv, x + length), x)

    @staticmethod
    def _signs(x: Tensor, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return 2.0 * torch.randint(2, shape, generator=generator, device=x.device).to(x.dtype) - 1

    @staticmethod
    @torch.no_grad()
    def _margin(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return margin(model(x), y)


@dataclass(frozen=True, kw_only=True)
class Noise(Adversary):
    """Steps of full length in random directions, `draws` times: any gradient attack must be stronger."""

    ball: Ball
    draws: int

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        return first_success(model, x, y, [partial(self._draw, generator)] * self.draws)

    def _draw(self, generator: torch.Generator, x: Tensor, _: Tensor) -> Tensor:
        noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        return self.ball.project(x + self.ball.eps * self.ball.steepest(noise), x)

    @property
    def settings(self) -> dict[str, Any]:
        return {"attack": "Noise", "draws": self.draws}

    @property
    def passes(self) -> float:
        return self.draws / 3


def first_success(model: nn.Module, x: Tensor, y: Tensor, tries: Iterable[Callable[[Tensor, Tensor], Tensor]]) -> Tensor:
    """Run each try(x, y) on the images still classified correctly; keep the first misclassified x', else the last."""
    x_adv, remaining = x.clone(), torch.arange(len(x), device=x.device)
    for attempt in tries:
        attempted = attempt(x[remaining], y[remaining]).detach()
        x_adv[remaining] = attempted
        with torch.no_grad():
            remaining = remaining[model(attempted).argmax(dim=1) == y[remaining]]
        if not len(remaining):
            break
    return x_adv


def untargeted(loss: LabelLoss) -> Goal:
    """Maximise loss(model(x'), y)."""
    return lambda model, _, y: lambda x_adv: loss(model(x_adv), y)


def targeted(rank: int) -> Goal:
    """Maximise z_t − z_y for the class t that is `rank`-th after the label in the clean logits (1: runner-up)."""

    def goal(model: nn.Module, x: Tensor, y: Tensor) -> Loss:
        with torch.no_grad():
            others = model(x).scatter(1, y[:, None], -torch.inf)
        pair = torch.stack([others.argsort(dim=1, descending=True)[:, rank - 1], y])
        return lambda x_adv: _difference(model(x_adv), pair)

    return goal


def away_from(teacher: nn.Module, temperature: float) -> Goal:
    """Maximise KL(T(x) ‖ S(x')) at a temperature: what a distilled student was trained to keep low."""

    def goal(model: nn.Module, x: Tensor, _: Tensor) -> Loss:
        with torch.no_grad():
            target = teacher(x)
        return lambda x_adv: kl(target, model(x_adv), temperature)

    return goal


def through(source: nn.Module) -> Goal:
    """Maximise the margin loss of another model, whose adversarial images may transfer to this one."""
    return lambda _, __, y: lambda x_adv: margin(source(x_adv), y)


def _difference(logits: Tensor, pair: Tensor) -> Tensor:
    target, label = logits.gather(1, pair.T).T
    return target - label
