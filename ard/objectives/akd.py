"""Adversarial knowledge distillation: hard labels and soft ones from teachers who are asked at the attacked image."""

from torch import Tensor, nn

from ard.core.ranges import above, share
from ard.losses import attack_labels, kl
from ard.models.frozen import Frozen, teacher_of
from ard.objectives.base import Objective, Pair


class AKD(Objective):
    """AKD, Chen et al., ICLR 2021: AKD2 with the adversarially trained teacher alone.

    Attack loss: CE(S(x'), y).
    Training loss: mean (1 − α) CE(S(x'), y) + α t² KL(T(x')/t ‖ S(x')/t).

    Args:
        alpha: Weight of the teacher, α.
        temperature: t.
    """

    needs_teacher = True
    labels = "soft"

    def __init__(self, *, alpha: float = 0.6, temperature: float = 2.0) -> None:
        super().__init__()
        share(alpha=alpha)
        above(0, temperature=temperature)
        self.alpha, self.temperature = alpha, temperature

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:  # noqa: ARG002
        t = self.temperature

        def training_loss(x_adv: Tensor) -> dict[str, Tensor]:
            adv = student(x_adv)
            soft = self.alpha * t**2 * kl(teacher(x_adv).detach(), adv, t).mean()
            return {"ce": (1 - self.alpha) * self.hard_label(adv, y), "kl": soft}

        return attack_labels(student, y), training_loss


class AKD2(Objective):
    """AKD2, Chen et al., ICLR 2021: a teacher T that was trained adversarially, and one N that was trained on clean images.

    Attack loss: CE(S(x'), y).
    Training loss: mean (1 − α − β) CE(S(x'), y) + α t² KL(T(x')/t ‖ S(x')/t) + β t² KL(N(x')/t ‖ S(x')/t).

    Args:
        natural_teacher: N.
        alpha: Weight of T, α.
        beta: Weight of N, β.
        temperature: t.
    """

    needs_teacher = True
    labels = "soft"

    def __init__(
        self, *, natural_teacher: Frozen | None = None, alpha: float = 0.6, beta: float = 0.1, temperature: float = 2.0
    ) -> None:
        super().__init__()
        self.natural_teacher = teacher_of(natural_teacher)
        share(alpha=alpha, beta=beta, **{"alpha + beta": round(alpha + beta, 9)})
        above(0, temperature=temperature)
        self.alpha, self.beta, self.temperature = alpha, beta, temperature

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:  # noqa: ARG002
        t = self.temperature

        def training_loss(x_adv: Tensor) -> dict[str, Tensor]:
            adv = student(x_adv)
            return {
                "ce": (1 - self.alpha - self.beta) * self.hard_label(adv, y),
                "kl": self.alpha * t**2 * kl(teacher(x_adv).detach(), adv, t).mean(),
                "kl_natural": self.beta * t**2 * kl(self.natural_teacher(x_adv).detach(), adv, t).mean(),
            }

        return attack_labels(student, y), training_loss
