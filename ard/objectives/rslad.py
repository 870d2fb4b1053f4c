"""Robust soft label adversarial distillation: the teacher's soft labels on every side."""

from torch import Tensor, nn

from ard.losses import kl
from ard.objectives.base import Objective, Pair


class RSLAD(Objective):
    """Zi et al., ICCV 2021, arXiv:2108.07969. inner: KL(T(x) ‖ S(x')); no labels, no temperature.

    outer: mean α KL(T(x) ‖ S(x')) + (1 − α) KL(T(x) ‖ S(x)).
    `mean_over_classes` takes a tenth, the released scale: the mean over classes on CIFAR-10, ten times it on CIFAR-100.
    """

    needs_teacher = True
    labels = "none"

    def __init__(self, *, alpha: float = 5 / 6, mean_over_classes: bool = False) -> None:
        super().__init__()
        self.alpha, self.scale = alpha, 0.1 if mean_over_classes else 1.0

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:  # noqa: ARG002
        target = teacher(x).detach()

        def outer(x_adv: Tensor) -> dict[str, Tensor]:
            return {
                "kl_adv": self.scale * self.alpha * kl(target, student(x_adv)).mean(),
                "kl_clean": self.scale * (1 - self.alpha) * kl(target, student(x)).mean(),
            }

        return lambda x_adv: kl(target, student(x_adv)), outer
