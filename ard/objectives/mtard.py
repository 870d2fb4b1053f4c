"""Two teachers, robust on attacked images and natural on clean ones; the student balances what it learns from each."""

from typing import Any

import torch
from torch import Tensor, nn

from ard.core.pixels import Labels
from ard.core.ranges import above, at_least, share
from ard.losses import attack_labels, kl, log_softmax
from ard.models.frozen import Frozen, teacher_of
from ard.objectives.base import Objective, Pair, RunFacts


class MTARD(Objective):
    """MTARD, Zhao et al., ECCV 2022: a teacher T that was trained adversarially, and one N that was trained on clean images.

    Attack loss: CE(S(x'), y).
    Training loss: mean v KL(T(x') ‖ S(x')) + w KL(N(x) ‖ S(x)), where v = 1 − w. After each step
    w ← w − η (w − r_N / (r_T + r_N)), from 1/2; r are the two losses relative to their first values.

    Args:
        natural_teacher: N.
        rate: η at the first learning rate, with which it falls.
        mean_over_classes: Whether to multiply by 1/10, the released scale: on CIFAR-10 the mean over classes, on
            CIFAR-100 ten times that mean. (In other methods the option divides by the number of classes.)
    """

    needs_teacher = True
    labels: Labels = "soft"

    def __init__(
        self, *, natural_teacher: Frozen | None = None, rate: float = 0.025, mean_over_classes: bool = False
    ) -> None:
        super().__init__()
        self.natural_teacher = teacher_of(natural_teacher)
        self.rate, self.scale = rate, 0.1 if mean_over_classes else 1.0
        self.weights = nn.Buffer(torch.full((2,), 0.5))  # of the robust and of the natural teacher's term
        self.first = nn.Buffer(torch.zeros(2))  # the two losses of the first step, 0 before it

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:
        natural = self.natural_teacher(x).detach()

        def training_loss(x_adv: Tensor) -> dict[str, Tensor]:
            return self.terms(teacher(x_adv).detach(), natural, student(x_adv), student(x))

        return attack_labels(student, y), training_loss

    def terms(self, robust: Tensor, natural: Tensor, adv: Tensor, clean: Tensor) -> dict[str, Tensor]:
        """The two weighted losses, given the logits of the teachers and the student."""
        return {
            "kl_adv": self.weights[0] * self.scale * kl(robust, adv).mean(),
            "kl_natural": self.weights[1] * self.scale * kl(natural, clean).mean(),
        }

    def after_step(self, terms: dict[str, Tensor], student: nn.Module) -> None:  # noqa: ARG002
        weighted = torch.stack([terms["kl_adv"], terms["kl_natural"]])
        losses = (weighted / self.weights).clamp(min=1e-12)  # a student that equals its teacher must not divide by zero
        self.first.copy_(torch.where(self.first > 0, self.first, losses))
        relative = losses / self.first
        rate = self.rate * self.lr_factor
        self.weights.copy_((1 - rate) * self.weights + rate * relative / relative.sum())

    def diagnostics(self) -> dict[str, Tensor]:
        return {"weight_natural": self.weights[1]}


class BMTARD(MTARD):
    """B-MTARD, Zhao et al., TPAMI 2024: MTARD whose teachers are brought to the same entropy.

    Attack loss: CE(S(x'), y).
    Training loss: mean v KL(T(x')/τ_T ‖ S(x')) + w KL(N(x)/τ_N ‖ S(x)); the student has no temperature, and there is no
    factor τ². After each step τ_T ← τ_T − κ sign(H_T − H_N) and τ_N ← τ_N + κ sign(H_T − H_N), from 1 and within [1,
    10], where H is the mean entropy of a tempered teacher; v and w move as in MTARD.

    Args:
        natural_teacher: N.
        rate: η of MTARD.
        temperature_rate: κ at the first learning rate, with which it falls.
        mean_over_classes: Whether to multiply by 1/10: the mean over classes of the released script, which is for CIFAR-10.
            (In other methods the option divides by the number of classes.)
    """

    def __init__(
        self,
        *,
        natural_teacher: Frozen | None = None,
        rate: float = 0.025,
        temperature_rate: float = 0.001,
        mean_over_classes: bool = False,
    ) -> None:
        super().__init__(natural_teacher=natural_teacher, rate=rate, mean_over_classes=mean_over_classes)
        self.temperature_rate = temperature_rate
        # Of the robust and of the natural teacher. Each is taken as a vector of one: a number would be rounded to bfloat16.
        self.temperatures = nn.Buffer(torch.ones(2))

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:
        natural = self.natural_teacher(x).detach() / self.temperatures[1:]

        def training_loss(x_adv: Tensor) -> dict[str, Tensor]:
            robust = teacher(x_adv).detach() / self.temperatures[:1]
            observed = {"entropy_adv": entropy(robust), "entropy_natural": entropy(natural)}
            return self.terms(robust, natural, student(x_adv), student(x)) | observed

        return attack_labels(student, y), training_loss

    def after_step(self, terms: dict[str, Tensor], student: nn.Module) -> None:
        super().after_step(terms, student)
        excess = torch.sign(terms["entropy_adv"].sum() - terms["entropy_natural"].sum())
        step = self.temperature_rate * self.lr_factor * excess
        self.temperatures.copy_((self.temperatures + torch.stack([-step, step])).clamp(1, 10))

    def diagnostics(self) -> dict[str, Tensor]:
        robust, natural = self.temperatures
        return {**super().diagnostics(), "temperature_adv": robust, "temperature_natural": natural}


class CIARD(BMTARD):
    """CIARD, Lu et al., ICCV 2025, arXiv:2509.12633: T is a copy of the robust teacher that learns too.

    Attack loss: CE(S(x'), y).
    Training loss: for the student, mean KL(T(x')/τ_T ‖ S(x')) + KL(N(x)/τ_N ‖ S(x)) − s KL(N(x') ‖ S(x')/t), the last
    over the images of which N gets x' wrong: there the student is pushed away from N. s is `push` times the power of ten
    that gives the third loss the order of magnitude of the smaller of the others, a constant. For T, from the fraction
    `start` of training on, mean CE(T(x'), y). T(x') is detached in the student's losses; T is in train mode, as the
    student is. The temperatures move as in B-MTARD, until the fraction `freeze` of training. On several devices each
    has an s and a mean over such images of its own.

    Args:
        natural_teacher: N.
        push: Size of the third loss relative to the smaller of the others.
        push_temperature: t.
        temperature_rate: κ of B-MTARD.
        start: The progress of training from which T learns.
        freeze: The progress of training from which the temperatures stay as they are; at 1 they move to the end.
        teacher_lr: T's learning rate at first; it falls with the student's.
        mean_over_classes: Whether to multiply by 1/10: the mean over classes of the released script, which is for CIFAR-10.
            (In other methods the option divides by the number of classes.)

    Raises:
        UserError: For an ensemble in T's place, when training begins.
    """

    awaits = ("learner",)
    labels = "class"

    def __init__(
        self,
        *,
        natural_teacher: Frozen | None = None,
        push: float = 1.0,
        push_temperature: float = 5.0,
        temperature_rate: float = 0.001,
        start: float = 1 / 6,
        teacher_lr: float = 1e-4,
        freeze: float = 1.0,
        mean_over_classes: bool = False,
    ) -> None:
        super().__init__(
            natural_teacher=natural_teacher,
            rate=0.0,
            temperature_rate=temperature_rate,
            mean_over_classes=mean_over_classes,
        )
        at_least(0, freeze=freeze)
        share(start=start)
        above(0, push_temperature=push_temperature)
        self.push, self.push_temperature = push, push_temperature
        self.start, self.freeze, self.teacher_lr = start, freeze, teacher_lr
        self.follows_progress = start > 0 or freeze < 1
        self.weights.fill_(1.0)  # and at rate 0 they stay so

    def setup(self, run: RunFacts) -> None:
        if not run.fitted_before:  # a second fit goes on with what the first one taught it
            teacher: Any = run.teacher
            self.learner = teacher.learner()

    def param_groups(self) -> list[dict[str, Any]]:
        # No weight decay: until `start` nothing may move.
        return [{"params": self.own_parameters(), "lr": self.teacher_lr, "momentum": 0.1, "weight_decay": 0.0}]

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:  # noqa: ARG002
        natural = self.natural_teacher(x).detach() / self.temperatures[1:]

        def training_loss(x_adv: Tensor) -> dict[str, Tensor]:
            learned, misled = self.learner(x_adv), self.natural_teacher(x_adv).detach()
            robust, adv = learned.detach() / self.temperatures[:1], student(x_adv)
            terms = self.terms(robust, natural, adv, student(x))
            terms["push"] = -self.push * self._pushed(misled, adv, y, like=terms)
            terms["teacher_ce"] = float(self.progress >= self.start) * self.hard_label(learned, y)
            return terms | {"entropy_adv": entropy(robust), "entropy_natural": entropy(natural)}

        return attack_labels(student, y), training_loss

    def after_step(self, terms: dict[str, Tensor], student: nn.Module) -> None:
        if self.progress < self.freeze:
            super().after_step(terms, student)

    def _pushed(self, misled: Tensor, adv: Tensor, y: Tensor, *, like: dict[str, Tensor]) -> Tensor:
        """The third loss, brought to the magnitude of the smaller of the others."""
        wrong = misled.argmax(dim=1) != y
        away = self.scale * (wrong * kl(misled, adv / self.push_temperature)).sum() / wrong.sum().clamp_min(1)
        smaller = torch.minimum(_magnitude(like["kl_adv"]), _magnitude(like["kl_natural"]))
        return 10 ** (smaller - _magnitude(away)) * away


def _magnitude(loss: Tensor) -> Tensor:
    """⌊log₁₀⌋ of a loss, constant; of one that is 0, −7."""
    return loss.detach().clamp_min(1e-7).log10().floor()


def entropy(logits: Tensor) -> Tensor:
    """−p log p summed over the batch, shape (C,): what each class adds to the batch's entropy."""
    log_p = log_softmax(logits)
    return -(log_p.exp() * log_p).sum(dim=0)
