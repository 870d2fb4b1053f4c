"""Adversarial training on the attacked images."""

from torch import Tensor, nn

from ard.losses import attack_labels
from ard.objectives.base import Objective, Pair


class PGDAT(Objective):
    """Adversarial training, Madry et al., ICLR 2018, arXiv:1706.06083.

    Attack loss: CE(S(x'), y).
    Training loss: mean CE(S(x'), y).
    """

    labels = "soft"

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:  # noqa: ARG002
        return attack_labels(student, y), lambda x_adv: {"ce": self.hard_label(student(x_adv), y)}
