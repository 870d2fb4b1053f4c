"""Introspective adversarial distillation: where the teacher errs on an attacked image, the student trusts itself."""

from torch import Tensor, nn

from ard.core.ranges import above, share
from ard.losses import attack_labels, cross_entropy, kl
from ard.models.frozen import Frozen, teacher_of
from ard.objectives.base import Objective, Pair


def trust(guide: Tensor, y: Tensor, beta: float) -> Tensor:
    """w = T_y(x')^β, how far the teacher is trusted on each example; `guide` are its logits at x', y classes (batch,)."""
    return (-beta * cross_entropy(guide, y)).exp()


class IADI(Objective):
    """IAD-I, Zhu et al., ICLR 2022, arXiv:2106.04928.

    Attack loss: CE(S(x'), y).
    Training loss: mean α t² (w KL(T(x)/t ‖ S(x')/t) + (1 − w) KL(S(x)/t ‖ S(x')/t)) + (1 − α) CE(S(x), y), where
    w = T_y(x')^β. S(x) keeps its gradient.

    Args:
        alpha: Weight of all that is distilled, α.
        beta: How fast trust in the teacher falls, β.
        temperature: t.
        begin: The progress of training until which w is 1, as in ARD.
        as_released: Whether to compute what the authors' code does: no w at the first term, no temperature in the second.
    """

    needs_teacher = True

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        beta: float = 0.1,
        temperature: float = 1.0,
        begin: float = 0.3,
        as_released: bool = False,
    ) -> None:
        super().__init__()
        share(alpha=alpha, begin=begin)
        above(0, temperature=temperature)
        self.alpha, self.beta, self.temperature = alpha, beta, temperature
        self.begins_at, self.as_released = begin, as_released
        self.follows_progress = begin > 0

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:
        target = teacher(x).detach()

        def training_loss(x_adv: Tensor) -> dict[str, Tensor]:
            w = trust(teacher(x_adv).detach(), y, self.beta) if self.progress >= self.begins_at else None
            return self.terms(student, target, w, x, x_adv, y)

        return attack_labels(student, y), training_loss

    def terms(
        self, student: nn.Module, target: Tensor, w: Tensor | None, x: Tensor, x_adv: Tensor, y: Tensor
    ) -> dict[str, Tensor]:
        """The terms of the training loss; `w` is None as long as the teacher is trusted."""
        adv, t = student(x_adv), self.temperature
        scale, from_teacher = self.alpha * t**2, kl(target, adv, t)
        terms = {"kl": scale * (from_teacher if w is None or self.as_released else w * from_teacher).mean()}
        if w is None and self.alpha == 1:
            return terms
        clean = student(x)
        if w is not None:
            from_self = kl(clean, adv) / t**2 if self.as_released else kl(clean, adv, t)
            terms["kl_self"] = scale * ((1 - w) * from_self).mean()
        if self.alpha < 1:
            terms["ce"] = (1 - self.alpha) * self.hard_label(clean, y)
        return terms


class AdaIAD(IADI):
    """IAD-I in the frame of AdaAD, Huang et al., CVPR 2023.

    Attack loss: KL(T(x') ‖ S(x')), whose gradient goes through the teacher too.
    Training loss: that of IAD-I with T(x') in place of T(x).
    """

    needs_teacher_gradient = True

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:
        def training_loss(x_adv: Tensor) -> dict[str, Tensor]:
            target = teacher(x_adv).detach()
            w = trust(target, y, self.beta) if self.progress >= self.begins_at else None
            return self.terms(student, target, w, x, x_adv, y)

        return lambda x_adv: kl(teacher(x_adv), student(x_adv)), training_loss


class IADII(Objective):
    """IAD-II, Zhu et al., ICLR 2022, arXiv:2106.04928: IAD-I with a second teacher N that was trained on clean images.

    Attack loss: CE(S(x'), y).
    Training loss: mean (1 − α₁ − α₂) CE(S(x'), y) + α₁ t² (w KL(T(x')/t ‖ S(x')/t) + (1 − w) KL(S(x)/t ‖ S(x')/t))
    + α₂ t² KL(N(x')/t ‖ S(x')/t), where w = T_y(x')^β. S(x) keeps its gradient.

    Args:
        natural_teacher: N.
        alpha_1: Weight of the adversarially trained teacher and of the student itself, α₁.
        alpha_2: Weight of N, α₂.
        beta: How fast trust in the teacher falls, β.
        temperature: t.
        begin: The progress of training until which w is 1, as in AKD2.
    """

    needs_teacher = True

    def __init__(
        self,
        *,
        natural_teacher: Frozen | None = None,
        alpha_1: float = 0.5,
        alpha_2: float = 0.25,
        beta: float = 0.1,
        temperature: float = 1.0,
        begin: float = 0.2,
    ) -> None:
        super().__init__()
        self.natural_teacher = teacher_of(natural_teacher)
        share(alpha_1=alpha_1, alpha_2=alpha_2, **{"alpha_1 + alpha_2": round(alpha_1 + alpha_2, 9)}, begin=begin)
        above(0, temperature=temperature)
        self.alpha_1, self.alpha_2, self.beta = alpha_1, alpha_2, beta
        self.temperature, self.begins_at = temperature, begin
        self.follows_progress = begin > 0

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:
        t = self.temperature

        def training_loss(x_adv: Tensor) -> dict[str, Tensor]:
            adv, target, natural = student(x_adv), teacher(x_adv).detach(), self.natural_teacher(x_adv).detach()
            from_teacher, terms = kl(target, adv, t), {}
            if self.progress >= self.begins_at:
                w = trust(target, y, self.beta)
                from_teacher = w * from_teacher
                terms["kl_self"] = self.alpha_1 * t**2 * ((1 - w) * kl(student(x), adv, t)).mean()
            return terms | {
                "kl": self.alpha_1 * t**2 * from_teacher.mean(),
                "kl_natural": self.alpha_2 * t**2 * kl(natural, adv, t).mean(),
                "ce": (1 - self.alpha_1 - self.alpha_2) * self.hard_label(adv, y),
            }

        return attack_labels(student, y), training_loss
