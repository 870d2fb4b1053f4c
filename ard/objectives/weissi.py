"""WEISSI: a term for any method, the norms of all layers multiplied, which no exchange of scale between layers changes."""

import torch
from torch import Tensor, nn

from ard.core.ranges import at_least
from ard.models.layers import layers_in_order, layers_met
from ard.objectives.base import Composed, Objective, Pair, RunFacts
from ard.objectives.pgd_at import PGDAT

LEAST = 1e-12  # of a squared norm, so that a layer of zeros has a logarithm, without a gradient


class WEISSI(Composed):
    """The weight-scale-shift-invariant regulariser of Liu, Cui and Chan 2020, arXiv:2008.02965, with BatchNorm folded in.

    Attack loss: that of `base`.
    Training loss: that of `base` + λ Σ_l log ‖Ŵ_l‖²_F, a scalar, over every convolution and linear layer that the student's
    last pass met. Ŵ is W γ / √(var + eps) where a BatchNorm follows, whose var is that of the batch, and W where none does.

    Scaling a layer by a and another by 1/a leaves the term as it is, and so does any scale before a BatchNorm, where weight
    decay or the norms of W alone would shrink what means nothing. Of a chain of layers exp of half the sum bounds the slope
    ‖∂f/∂x‖. The paper's own form for shortcuts was not at hand: here each layer of one counts as another factor. The
    sum has no least value, so λ is to be small.

    Args:
        base: The method; PGD-AT by default.
        strength: λ, at least 0.

    Raises:
        UserError: For a negative λ, and for a student without such layers.
    """

    def __init__(self, *, base: Objective | None = None, strength: float = 1e-3) -> None:
        super().__init__(base or PGDAT())
        at_least(0, strength=strength)
        self.strength = strength

    def setup(self, run: RunFacts) -> None:
        layers_in_order(run.student, run.image_shape)

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:
        attack_loss, training_loss = self.base(student, teacher, x, y)

        def penalised(x_adv: Tensor) -> dict[str, Tensor]:
            with layers_met(student) as met:
                terms = training_loss(x_adv)
            last = {layer.name: layer for layer in met}.values()
            squares = torch.stack([layer.folded().square().sum() for layer in last])
            return self.with_own(terms, weissi=self.strength * squares.clamp_min(LEAST).log().sum())

        return attack_loss, penalised
