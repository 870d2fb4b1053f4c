"""What every diagnostic looks at: a student, perhaps a teacher, images, and what is shared between diagnostics."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ard.attacks import PGD, Ball
from ard.attacks.attacking import frozen_mode
from ard.core.errors import UserError
from ard.core.logits import accuracy_of
from ard.core.randomness import keyed_generator
from ard.losses import attack_labels
from ard.models.frozen import Frozen

T = TypeVar("T")
Track = Callable[[Iterable[T], str], Iterable[T]]  # the steps of a long diagnostic, and what they are, for a progress bar
AT_A_TIME = 250  # images that pass a network at once
PGD_STEPS = 20


@dataclass(kw_only=True)
class Inspected:
    """Networks in eval mode and float32 on one device, images x (n, C, H, W) in [0, 1], labels y (n,), and a ball.

    Attributes:
        student: The network that is looked at.
        x: Images.
        y: Their labels.
        ball: Its radius is that of every noise and attack.
        teacher: Where one was given.
        initial: The student before its training, where it is known.
        weight_decay: Of the student's training, where it is known.
        other: Images of another kind, with their labels or without (None), where they were given.
        seed: Of everything that is drawn.
        exact: Whether a diagnostic that samples should compute the whole instead, where it can.
        track: Shows how far a long diagnostic is.
    """

    student: nn.Module
    x: Tensor
    y: Tensor
    ball: Ball
    teacher: nn.Module | None = None
    initial: nn.Module | None = None
    weight_decay: float | None = None
    other: tuple[Tensor, Tensor | None] | None = None
    seed: int = 0
    exact: bool = False
    track: Track = field(default=lambda steps, _: steps)
    _known: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    @property
    def networks(self) -> list[nn.Module]:
        """Every network there is, a teacher of several as its members."""
        given = [network for network in (self.student, self.teacher, self.initial) if network is not None]
        return [one for network in given for one in (network.networks if isinstance(network, Frozen) else [network])]

    def generator(self, *key: int | str) -> torch.Generator:
        """A generator of this diagnostic's own: the same numbers, whatever else is measured."""
        return keyed_generator(self.x.device, "diagnostic", self.seed, *key)

    def sample(self, most: int, *key: int | str) -> Tensor:
        """Places of at most so many of the images, drawn at random, in their order; of all with `exact`."""
        drawn = torch.randperm(len(self.y), generator=self.generator("sample", *key), device=self.x.device)
        return drawn[: None if self.exact else most].sort().values

    def once(self, key: str, compute: Callable[[], T]) -> T:
        """What compute() returned at the first call with this key: for what several diagnostics need."""
        if key not in self._known:
            self._known[key] = compute()
        found: T = self._known[key]
        return found

    @staticmethod
    def blocks(*tensors: Tensor, size: int = AT_A_TIME) -> Iterator[tuple[Tensor, ...]]:
        """The same images of each tensor, some at once."""
        return zip(*(tensor.split(size) for tensor in tensors), strict=True)

    def answers(self, network: nn.Module, x: Tensor) -> Tensor:
        """Logits (n, classes), without gradients."""
        with torch.no_grad():
            return torch.cat([network(block) for (block,) in self.blocks(x)])

    @cached_property
    def logits(self) -> Tensor:
        """The student's logits (n, classes) on the images; raises UserError where they are not finite."""
        logits = self.answers(self.student, self.x)
        if not logits.isfinite().all():
            raise UserError(
                "the student's logits are not all finite: expected numbers; was its training cut off as it diverged?"
            )
        return logits

    @cached_property
    def attacked(self) -> Tensor:
        """The images after PGD-20 on the student's cross entropy, by one random start."""
        attack, parts = PGD(self.ball, steps=PGD_STEPS), []
        for place, (x, y) in enumerate(self.blocks(self.x, self.y)):
            with frozen_mode(self.student):
                parts.append(attack(attack_labels(self.student, y), x, self.generator("attacked", place)))
        return torch.cat(parts)

    @cached_property
    def attacked_logits(self) -> Tensor:
        """The student's logits on the attacked images."""
        return self.answers(self.student, self.attacked)

    @property
    def clean_acc(self) -> float:
        """The student's accuracy on the images."""
        return accuracy_of(self.logits, self.y)

    @property
    def robust_acc(self) -> float:
        """The student's accuracy on the attacked images."""
        return accuracy_of(self.attacked_logits, self.y)

    @cached_property
    def noisy(self) -> Tensor:
        """The images moved by eps in random directions: signs for Linf, a normal direction for L2; no attack."""
        direction = torch.randn(self.x.shape, generator=self.generator("noise"), device=self.x.device)
        return self.ball.project(self.x + self.ball.eps * self.ball.steepest(direction), self.x)
