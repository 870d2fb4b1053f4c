"""CGARD: the attack also seeks a point at which the teacher is more certain; the student learns from both points."""

import torch
from torch import Tensor, nn

from ard.core.ranges import share
from ard.losses import AttackLoss, cross_entropy, kl
from ard.objectives.base import Objective, Pair


class CGARD(Objective):
    """CGARD, Li et al. 2026: the attack searches x' and, for the teacher, a second point x'' at once.

    Attack loss: (KL(S(x') ‖ T(x'')) + KL(T(x'') ‖ S(x'))) / 2, in x' and in x''. A step of x'' to where
    CE(T(x''), y) > CE(T(x), y) ends at x.
    Training loss: mean (1 − α) KL(T(x'') ‖ S(x')) + α KL(T(x') ‖ S(x')).

    Args:
        alpha: Weight of the teacher at x', α.
    """

    needs_teacher = True
    needs_teacher_gradient = True
    labels = "soft"

    def __init__(self, *, alpha: float = 0.7) -> None:
        super().__init__()
        share(alpha=alpha)
        self.alpha = alpha

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:
        most = cross_entropy(teacher(x).detach(), y)

        def apart(points: Tensor) -> Tensor:
            x_adv, x_favourable = points.chunk(2)
            answer, guide = student(x_adv), teacher(x_favourable)
            return (kl(answer, guide) + kl(guide, answer)).repeat(2) / 4  # a half of it for each of a pair's points

        def allowed(points: Tensor) -> Tensor:
            favourable = cross_entropy(teacher(points.chunk(2)[1]), y) <= most
            return torch.cat([torch.ones_like(favourable), favourable])

        def training_loss(points: Tensor) -> dict[str, Tensor]:
            x_adv, x_favourable = points.chunk(2)
            adv = student(x_adv)
            return {
                "kl_favourable": (1 - self.alpha) * kl(teacher(x_favourable).detach(), adv).mean(),
                "kl_adv": self.alpha * kl(teacher(x_adv).detach(), adv).mean(),
            }

        return AttackLoss(apart, centre=torch.cat([x, x]), allowed=allowed), training_loss
