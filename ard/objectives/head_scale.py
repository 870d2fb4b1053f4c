"""Head scale: any method, for a student whose last layer begins at another scale."""

import torch
from torch import Tensor, nn

from ard.core.ranges import above
from ard.models.layers import layers_in_order
from ard.objectives.base import Composed, Objective, Pair, RunFacts
from ard.objectives.pgd_at import PGDAT


class HeadScale(Composed):
    """The scale of initialisation of Mehta, Cutkosky and Neyshabur, ICLR 2021, arXiv:2008.13363, for the last layer alone.

    Both losses are those of `base`. As the run begins, weight and bias of the last layer that a pass meets are multiplied by
    `scale`, and with them every logit: below 1 the student begins unsure, above 1 it begins sure of what it does not know,
    which in the paper leads to memorising. A run that goes on has its weights from the checkpoint, and a second fit of the
    same student scales nothing again. Weights of `--init` are scaled, too.

    Args:
        base: The method; PGD-AT by default.
        scale: Above 0.

    Raises:
        UserError: For a scale that is not above 0, and for a student without a convolution or linear layer.
    """

    def __init__(self, *, base: Objective | None = None, scale: float = 0.1) -> None:
        super().__init__(base or PGDAT())
        above(0, scale=scale)
        self.scale = scale

    @torch.no_grad()
    def prepare(self, run: RunFacts) -> None:
        if run.fitted_before:
            return
        for parameter in layers_in_order(run.student, run.image_shape)[-1].layer.parameters():
            parameter.mul_(self.scale)

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:
        return self.base(student, teacher, x, y)
