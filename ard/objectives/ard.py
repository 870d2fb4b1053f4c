"""Adversarially robust distillation."""

from torch import Tensor, nn

from ard.core.ranges import above, share
from ard.losses import attack_labels, kl
from ard.objectives.base import Objective, Pair


class ARD(Objective):
    """ARD, Goldblum et al., AAAI 2020, arXiv:1905.09747.

    Attack loss: CE(S(x'), y), from the labels alone.
    Training loss: mean α t² KL(T(x)/t ‖ S(x')/t) + (1 − α) CE(S(x), y). The teacher is asked about clean images. With a
    temperature t_T of its own it says T(x)/t_T (low temperature distillation, Chen et al. 2021, arXiv:2111.02331).

    Args:
        alpha: Weight of the teacher, α.
        temperature: t.
        mean_over_classes: Whether to divide the KL by the number of classes, as the released code does (nn.KLDivLoss's
            default).
        teacher_temperature: t_T, above 0; None: t.
    """

    needs_teacher = True
    asks_only_x = True
    labels = "soft"

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        temperature: float = 30.0,
        mean_over_classes: bool = False,
        teacher_temperature: float | None = None,
    ) -> None:
        super().__init__()
        share(alpha=alpha)
        above(0, temperature=temperature, teacher_temperature=teacher_temperature)
        self.alpha, self.temperature, self.mean_over_classes = alpha, temperature, mean_over_classes
        self.teacher_temperature = teacher_temperature

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:
        target, t = teacher(x).detach(), self.temperature
        if self.teacher_temperature is not None:
            target = target * (t / self.teacher_temperature)
        scale = self.alpha * t**2 / (target.shape[1] if self.mean_over_classes else 1)

        def training_loss(x_adv: Tensor) -> dict[str, Tensor]:
            terms = {"kl": scale * kl(target, student(x_adv), t).mean()}
            if self.alpha < 1:
                terms["ce"] = (1 - self.alpha) * self.hard_label(student(x), y)
            return terms

        return attack_labels(student, y), training_loss
