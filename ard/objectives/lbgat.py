"""LBGAT: beside the robust student learns a network on clean images, and the student takes over its logits."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ard.losses import kl
from ard.models.building import another_network, get_ready
from ard.models.wrappers import Network
from ard.objectives.base import Objective, Pair, RunFacts


class LBGAT(Objective):
    """LBGAT, Cui et al., ICCV 2021, arXiv:2011.11164: in the teacher's place a network N that learns at the same time, from
    clean images.

    Attack loss: KL(S(x) ‖ S(x')), also at β = 0.
    Training loss: MSE(S(x'), N(x)) + mean CE(N(x), y) + β KL(S(x) ‖ S(x')), where MSE is the mean square over batch and
    classes of the difference of logits. Nothing is detached: the MSE moves N towards the student, too, and the student sees
    labels through N alone. N is in train mode, and never asked by the attack.

    Args:
        clean_learner: N's network; by default another of the student's kind.
        beta: Weight of the KL, β.
    """

    labels = "soft"

    def __init__(self, *, clean_learner: Network | None = None, beta: float = 6.0) -> None:
        super().__init__()
        self.factory, self.beta = clean_learner, beta

    def build(self, *, student: Callable[..., nn.Module], num_classes: int) -> None:
        self.clean_learner = another_network(self.factory, student, num_classes, "clean_learner")

    def setup(self, run: RunFacts) -> None:
        get_ready(self.clean_learner, run.image_shape, run.num_classes, "the clean learner")

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:  # noqa: ARG002
        with torch.no_grad():
            target = student(x)

        def training_loss(x_adv: Tensor) -> dict[str, Tensor]:
            adv, clean, learned = student(x_adv), student(x), self.clean_learner(x)
            return {
                "mse": F.mse_loss(adv, learned),
                "clean_learner_ce": self.hard_label(learned, y),
                "kl": self.beta * kl(clean, adv).mean(),
            }

        return lambda x_adv: kl(target, student(x_adv)), training_loss
