"""Natural training: no attack, no teacher."""

from torch import Tensor, nn

from ard.objectives.base import Objective, Pair


class Natural(Objective):
    """Training on clean images: no attack, no teacher.

    Training loss: mean CE(S(x), y).
    """

    labels = "soft"

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:  # noqa: ARG002
        return None, lambda _: {"ce": self.hard_label(student(x), y)}
