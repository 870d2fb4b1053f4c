"""Adversaries of the evaluation: they know the labels, and keep the best point they saw."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ard.attacks import FGSM, PGD, Attack, Ball
from ard.losses import cross_entropy, margin

LabelLoss = Callable[[Tensor, Tensor], Tensor]  # logits, y -> (batch,)


@dataclass(frozen=True, kw_only=True)
class Adversary:
    """adversary(model, x, y, generator) -> x': an attack that climbs a loss of logits and labels."""

    name: str
    attack: Attack
    loss: LabelLoss

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        return self.attack(lambda x_adv: self.loss(model(x_adv), y), x, generator)

    @property
    def settings(self) -> dict[str, Any]:
        """What a reader needs to run the same attack again."""
        plain = {key: value for key, value in vars(self.attack).items() if isinstance(value, str | int | float)}
        return {"attack": type(self.attack).__name__, "loss": self.loss.__name__, **plain}


def quick(ball: Ball) -> list[Adversary]:
    """FGSM, PGD-20 and a 30-step PGD on the margin loss (CW-Linf as the field reports it)."""
    pgd = {"relative_step": 0.25, "keep_best": True}
    return [
        Adversary(name="FGSM", attack=FGSM(ball), loss=cross_entropy),
        Adversary(name="PGD-20", attack=PGD(ball, steps=20, **pgd), loss=cross_entropy),  # type: ignore[arg-type]
        Adversary(name="CW", attack=PGD(ball, steps=30, **pgd), loss=margin),  # type: ignore[arg-type]
    ]


SUITES: dict[str, Callable[[Ball], list[Adversary]]] = {"quick": quick}
