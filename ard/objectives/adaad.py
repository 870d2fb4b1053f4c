"""Adaptive adversarial distillation: the attack seeks where student and teacher disagree, and the teacher answers there."""

from torch import Tensor, nn

from ard.core.ranges import share
from ard.losses import kl
from ard.objectives.base import Objective, Pair


class AdaAD(Objective):
    """AdaAD, Huang et al., CVPR 2023.

    Attack loss: KL(T(x') ‖ S(x')), whose gradient goes through the teacher too; no labels.
    Training loss: mean α KL(T(x') ‖ S(x')) + (1 − α) KL(T(x) ‖ S(x)).

    Args:
        alpha: Weight of the attacked images, α.
        mean_over_classes: Whether to divide the KL by the number of classes, as the released code does
            for CIFAR-10 (and not for CIFAR-100).
    """

    needs_teacher = True
    needs_teacher_gradient = True
    labels = "none"

    def __init__(self, *, alpha: float = 1.0, mean_over_classes: bool = False) -> None:
        super().__init__()
        share(alpha=alpha)
        self.alpha, self.mean_over_classes = alpha, mean_over_classes

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:  # noqa: ARG002
        clean_target = teacher(x).detach() if self.alpha < 1 else None

        def training_loss(x_adv: Tensor) -> dict[str, Tensor]:
            target = teacher(x_adv).detach()
            scale = 1 / target.shape[1] if self.mean_over_classes else 1.0
            terms = {"kl_adv": scale * self.alpha * kl(target, student(x_adv)).mean()}
            if clean_target is not None:
                terms["kl_clean"] = scale * (1 - self.alpha) * kl(clean_target, student(x)).mean()
            return terms

        return lambda x_adv: kl(teacher(x_adv), student(x_adv)), training_loss
