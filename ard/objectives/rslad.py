"""Robust soft label adversarial distillation: the teacher's soft labels on every side."""

from torch import Tensor, nn

from ard.core.ranges import share
from ard.losses import kl
from ard.objectives.base import Objective, Pair


class RSLAD(Objective):
    """RSLAD, Zi et al., ICCV 2021, arXiv:2108.07969.

    Attack loss: KL(T(x) ‖ S(x')), without labels or temperature.
    Training loss: mean α KL(T(x) ‖ S(x')) + (1 − α) KL(T(x) ‖ S(x)).

    Args:
        alpha: Weight of the attacked images, α.
        mean_over_classes: Whether to multiply by 1/10, the released scale: on CIFAR-10 the mean over classes, on
            CIFAR-100 ten times that mean. (In other methods the option divides by the number of classes.)
    """

    needs_teacher = True
    asks_only_x = True
    labels = "none"

    def __init__(self, *, alpha: float = 5 / 6, mean_over_classes: bool = False) -> None:
        super().__init__()
        share(alpha=alpha)
        self.alpha, self.scale = alpha, 0.1 if mean_over_classes else 1.0

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:  # noqa: ARG002
        target = teacher(x).detach()

        def training_loss(x_adv: Tensor) -> dict[str, Tensor]:
            return {
                "kl_adv": self.scale * self.alpha * kl(target, student(x_adv)).mean(),
                "kl_clean": self.scale * (1 - self.alpha) * kl(target, student(x)).mean(),
            }

        return lambda x_adv: kl(target, student(x_adv)), training_loss
