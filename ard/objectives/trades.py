"""TRADES: accuracy on clean images, smoothness around them."""

import torch
from torch import Tensor, nn

from ard.losses import kl
from ard.objectives.base import Objective, Pair


class TRADES(Objective):
    """TRADES, Zhang et al., ICML 2019, arXiv:1901.08573.

    Attack loss: KL(S(x) ‖ S(x')).
    Training loss: mean CE(S(x), y) + β KL(S(x) ‖ S(x')). The clean branch of the KL keeps its gradient: detaching it costs
    robustness and is not the paper's method.

    Args:
        beta: Weight of the KL, β.
    """

    labels = "soft"

    def __init__(self, *, beta: float = 6.0) -> None:
        super().__init__()
        self.beta = beta

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:  # noqa: ARG002
        with torch.no_grad():
            target = student(x)

        def training_loss(x_adv: Tensor) -> dict[str, Tensor]:
            clean = student(x)
            return {"ce": self.hard_label(clean, y), "kl": self.beta * kl(clean, student(x_adv)).mean()}

        return lambda x_adv: kl(target, student(x_adv)), training_loss
