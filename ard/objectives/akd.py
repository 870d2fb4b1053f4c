"""Adversarial knowledge distillation: hard labels and soft ones from teachers who are asked at the attacked image."""

from torch import Tensor, nn

from ard.losses import kl
from ard.models.frozen import Frozen
from ard.objectives.base import Objective, Pair, attack_labels


class AKD(Objective):
    """AKD2 (below) with the adversarially trained teacher alone. inner: CE(S(x'), y).

    outer: mean (1 − α) CE(S(x'), y) + α t² KL(T(x')/t ‖ S(x')/t), t the temperature.
    """

    needs_teacher = True
    labels = "soft"

    def __init__(self, *, alpha: float = 0.6, temperature: float = 2.0) -> None:
        super().__init__()
        self.alpha, self.temperature = alpha, temperature

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:  # noqa: ARG002
        t = self.temperature

        def outer(x_adv: Tensor) -> dict[str, Tensor]:
            adv = student(x_adv)
            soft = self.alpha * t**2 * kl(teacher(x_adv).detach(), adv, t).mean()
            return {"ce": (1 - self.alpha) * self.hard_label(adv, y), "kl": soft}

        return attack_labels(student, y), outer


class AKD2(Objective):
    """Chen et al., ICLR 2021. inner: CE(S(x'), y). T is trained adversarially, N (`natural_teacher`) on clean images.

    outer: mean (1 − α − β) CE(S(x'), y) + α t² KL(T(x')/t ‖ S(x')/t) + β t² KL(N(x')/t ‖ S(x')/t), t the temperature.
    """

    needs_teacher = True
    labels = "soft"

    def __init__(
        self, *, natural_teacher: Frozen | None = None, alpha: float = 0.6, beta: float = 0.1, temperature: float = 2.0
    ) -> None:
        super().__init__()
        self.natural_teacher = natural_teacher or Frozen()
        self.alpha, self.beta, self.temperature = alpha, beta, temperature

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:  # noqa: ARG002
        t = self.temperature

        def outer(x_adv: Tensor) -> dict[str, Tensor]:
            adv = student(x_adv)
            return {
                "ce": (1 - self.alpha - self.beta) * self.hard_label(adv, y),
                "kl": self.alpha * t**2 * kl(teacher(x_adv).detach(), adv, t).mean(),
                "kl_natural": self.beta * t**2 * kl(self.natural_teacher(x_adv).detach(), adv, t).mean(),
            }

        return attack_labels(student, y), outer
