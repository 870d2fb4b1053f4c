"""Norm bias: a term for any method, under which the norm of the weights goes to a chosen number and not to 0."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ard.core.ranges import above, at_least
from ard.objectives.base import Composed, Objective, Pair, RunFacts
from ard.objectives.pgd_at import PGDAT


class NormBias(Composed):
    """Norm bias, Goldblum et al., ICLR 2020, arXiv:1910.00359: in the place of weight decay, a pull to a norm of choice.

    Attack loss: that of `base`.
    Training loss: that of `base` + λ h(‖θ‖² − μ²), a scalar. h(s) is |s| − δ/2 where |s| > δ, and s²/2δ nearer: the absolute
    value of the paper, whose gradient would jump at μ², as a Huber loss. Its gradient is 2λ θ above μ² + δ, −2λ θ below
    μ² − δ and 0 at μ². The released code adds w θ, a λ of w / 2. The optimiser's weight decay is to be 0 beside it.

    Args:
        base: The method; PGD-AT by default.
        strength: λ, at least 0; 2.5e-4 pulls as hard as a weight decay of 5e-4.
        squared_norm: μ², above 0. None: `ratio` times that of the student as the run begins.
        ratio: Above 0.
        width: δ in units of μ², above 0.
        weights_only: Whether θ leaves biases and BatchNorm out, which the paper counts.

    Raises:
        UserError: For numbers out of range.
    """

    def __init__(
        self,
        *,
        base: Objective | None = None,
        strength: float = 2.5e-4,
        squared_norm: float | None = None,
        ratio: float = 2.0,
        width: float = 0.05,
        weights_only: bool = False,
    ) -> None:
        super().__init__(base or PGDAT())
        at_least(0, strength=strength)
        above(0, squared_norm=squared_norm, ratio=ratio, width=width)
        self.strength, self.squared_norm, self.ratio = strength, squared_norm, ratio
        self.width, self.weights_only = width, weights_only
        self.target = nn.Buffer(torch.tensor(0.0))

    def setup(self, run: RunFacts) -> None:
        own = self.ratio * self._squared_norm(run.student).detach()
        self.target.copy_(own if self.squared_norm is None else torch.full_like(own, self.squared_norm))

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:
        attack_loss, training_loss = self.base(student, teacher, x, y)

        def biased(x_adv: Tensor) -> dict[str, Tensor]:
            share = self._squared_norm(student) / self.target
            away = self.target * F.huber_loss(share, torch.ones_like(share), delta=self.width) / self.width
            return self.with_own(training_loss(x_adv), norm_bias=self.strength * away)

        return attack_loss, biased

    def _squared_norm(self, student: nn.Module) -> Tensor:
        return torch.stack([p.square().sum() for p in student.parameters() if p.ndim > 1 or not self.weights_only]).sum()
