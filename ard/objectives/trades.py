"""TRADES: accuracy on clean images, smoothness around them."""

import torch
from torch import Tensor, nn

from ard.losses import kl
from ard.objectives.base import Objective, Pair


class TRADES(Objective):
    """Zhang et al., ICML 2019, arXiv:1901.08573. inner: KL(S(x) ‖ S(x')). outer: mean CE(S(x), y) + β KL(S(x) ‖ S(x')).

    The clean branch of the outer KL keeps its gradient: detaching it costs robustness and is not the paper's method.
    """

    labels = "soft"

    def __init__(self, *, beta: float = 6.0) -> None:
        super().__init__()
        self.beta = beta

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:  # noqa: ARG002
        with torch.no_grad():
            target = student(x)

        def outer(x_adv: Tensor) -> dict[str, Tensor]:
            clean = student(x)
            return {"ce": self.hard_label(clean, y), "kl": self.beta * kl(clean, student(x_adv)).mean()}

        return lambda x_adv: kl(target, student(x_adv)), outer
