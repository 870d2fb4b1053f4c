"""GradAlign: one-step adversarial training of a student that stays linear where the attack steps."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ard.core.ranges import at_least
from ard.losses import attack_labels, cross_entropy
from ard.objectives.base import Objective, Pair, RunFacts


class GradAlign(Objective):
    """GradAlign, Andriushchenko & Flammarion, NeurIPS 2020, arXiv:2007.02617.

    Attack loss: CE(S(x'), y).
    Training loss: mean CE(S(x'), y) + λ (1 − cos(∇ℓ(x), ∇ℓ(x + η))), where ℓ = CE(S(·), y) and η is uniform in the
    ball around 0 of the threat's norm, whose radius is the eps of the step. The first gradient is a constant.

    Args:
        strength: λ; the paper's 0.2 is for eps = 8/255.
        saturated: By what the first gradient is multiplied at pixels that are exactly 0 or 1. The released code takes it
            through max(min(x, 1), 0), whose derivative there is 1/2 in torch; the second one it takes as it is.
    """

    labels = "soft"

    def __init__(self, *, strength: float = 0.2, saturated: float = 1.0) -> None:
        super().__init__()
        at_least(0, saturated=saturated)
        self.strength, self.saturated = strength, saturated
        self.threat: Any = None  # in a loop of one's own it is Linf

    def setup(self, run: RunFacts) -> None:
        self.threat = run.threat

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:  # noqa: ARG002
        eta = self._move(x)

        def training_loss(x_adv: Tensor) -> dict[str, Tensor]:
            here = _gradient(student, x, y).detach()
            if self.saturated != 1:
                here = torch.where((x == 0) | (x == 1), self.saturated * here, here)
            there = _gradient(student, x + eta, y, create_graph=True)
            bend = 1 - F.cosine_similarity(here.flatten(1), there.flatten(1))
            return {"ce": self.hard_label(student(x_adv), y), "align": self.strength * bend.mean()}

        return attack_labels(student, y), training_loss

    def _move(self, x: Tensor) -> Tensor:
        """η, of x's shape."""
        if self.threat is not None and self.threat.eps:
            eta: Tensor = self.threat.scaled(self.step.eps / self.threat.eps).uniform(x, self.generator)
            return eta
        return self.step.eps * (2 * torch.rand(x.shape, generator=self.generator, device=x.device, dtype=x.dtype) - 1)


def _gradient(student: nn.Module, x: Tensor, y: Tensor, *, create_graph: bool = False) -> Tensor:
    """Of every example's loss in its image; not under autocast, since half the digits do not make a direction."""
    with torch.enable_grad(), torch.autocast(x.device.type, enabled=False):
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(cross_entropy(student(x), y).sum(), x, create_graph=create_graph)
    return gradient
