"""ADR: labels softened by the student's own average, the more so the less that one is mistaken."""

from collections.abc import Sequence
from math import cos, inf, pi

import torch
from torch import Tensor, nn

from ard.core.errors import UserError
from ard.losses import log_softmax, shares_of
from ard.models.average import MovingAverage
from ard.models.given_answer import GivenAnswer
from ard.objectives.base import Composed, Objective, Pair, RunFacts
from ard.objectives.pgd_at import PGDAT

TINY = torch.finfo(torch.float32).tiny  # in the place of 0, whose logarithm has no number


class ADR(Composed):
    """Annealing self-distillation rectification (ADR), Wu et al., ICLR 2024, arXiv:2305.12118: a label for any method.

    The label of an image is P = λ_i q + (1 − λ_i) e_y, where q = softmax(A(x)/τ), λ_i = clip(λ − (max_c q_c − q_y), 0, 1)
    and e_y is the one-hot label. A is an average of the student over its steps, weights and BatchNorm statistics, in eval
    mode: it begins as the student, and after each step becomes decay · A + (1 − decay) · S. Where A is sure of a wrong
    class, λ_i is 0 and P is e_y. τ and λ go from the one end to the other along half a cosine over the steps of training. P
    is computed once a batch, before the attack, and is a constant.

    Attack loss and training loss: those of `base` with P in the place of y: CE(S(x'), P) for both with PGD-AT. With
    `as_teacher` y stays, and `base` is given a teacher T that says log P of these very x: KL(T(x) ‖ S(x')) is KL(P ‖ S(x')).
    There a share of 0 counts as 1e-38, which a temperature t of `base` raises: T(x)/t is P^(1/t), scaled to sum to 1.

    It wants one class an image: where q is right cannot be said of shares of classes, such as CutMix makes, and they are
    refused before training. The run's label smoothing is on top of P.

    Args:
        base: The method; PGD-AT by default.
        as_teacher: Whether P takes the teacher's place instead of the label's.
        temperatures: τ as training begins and as it ends, above 0.
        lambdas: λ as training begins and as it ends, in [0, 1].
        decay: Of the average, in (0, 1).

    Raises:
        UserError: For numbers out of range; for a base that takes no shares of classes as labels; with `as_teacher` for a
            base that has no teacher, or asks it about other images than x.
    """

    awaits = ("average",)
    follows_progress = True

    def __init__(
        self,
        *,
        base: Objective | None = None,
        as_teacher: bool = False,
        temperatures: Sequence[float] = (2.5, 2.0),
        lambdas: Sequence[float] = (0.7, 0.95),
        decay: float = 0.995,
    ) -> None:
        super().__init__(base or PGDAT())
        self.as_teacher, self.temperatures, self.lambdas, self.decay = as_teacher, temperatures, lambdas, decay
        self._check()
        self.needs_teacher = self.base.needs_teacher and not as_teacher
        self.labels = "class"
        self._seen: tuple[Tensor, ...] = ()  # P_y and λ_i of the batch under way

    def setup(self, run: RunFacts) -> None:
        if not run.fitted_before:  # a second fit goes on with it
            self.average = MovingAverage(run.student, self.decay, warmup=False)

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:
        label = self.label(x, y)
        if self.as_teacher:
            return self.base(student, GivenAnswer(x, label.clamp_min(TINY).log(), type(self.base).__name__), x, y)
        return self.base(student, teacher, x, label)

    @torch.no_grad()
    def label(self, x: Tensor, y: Tensor) -> Tensor:
        """P of images x with classes y, shape (batch, C), in at least float32."""
        q = log_softmax(self.average(x), self._annealed(self.temperatures)).exp()
        excess = q.amax(dim=1, keepdim=True) - q.gather(1, y[:, None])
        trust = (self._annealed(self.lambdas) - excess).clamp(0, 1)
        label = trust * q + (1 - trust) * shares_of(y, q.shape[1], q.dtype)
        self._seen = label.gather(1, y[:, None]), trust
        return label

    def after_step(self, terms: dict[str, Tensor], student: nn.Module) -> None:  # noqa: ARG002
        self.average.update_parameters(student)

    def diagnostics(self) -> dict[str, Tensor]:
        return {name: seen.mean() for name, seen in zip(("label_true", "label_lambda"), self._seen, strict=False)}

    def _annealed(self, ends: Sequence[float]) -> float:
        first, last = ends
        return last + (first - last) * (1 + cos(pi * self.progress)) / 2

    def _check(self) -> None:
        ends = {"temperatures": (self.temperatures, TINY, inf, "above 0"), "lambdas": (self.lambdas, 0, 1, "in [0, 1]")}
        for name, (values, low, high, wanted) in ends.items():
            if len(values) != 2 or not all(low <= value <= high for value in values):
                raise UserError(f"{name} = {list(values)}: expected two numbers {wanted}, as training begins and as it ends")
        if not 0 < self.decay < 1:
            raise UserError(f"decay = {self.decay}: expected a number in (0, 1)")
        if wrong := self._misfit():
            raise UserError(wrong)

    def _misfit(self) -> str | None:
        """Why the label has no place in `base`."""
        base, name = self.base, type(self.base).__name__
        if not self.as_teacher and base.labels != "soft":
            why = "looks at no label" if base.labels == "none" else "wants one class an image, and this label has shares"
            hint = ", or as_teacher: true" if base.asks_only_x else ""
            return f"{name} {why}: expected a base that learns from shares of classes, such as PGDAT{hint}"
        if self.as_teacher and not base.needs_teacher:
            return f"as_teacher = true: {name} has no teacher: expected a base that has one, such as RSLAD"
        if self.as_teacher and not base.asks_only_x:
            return f"as_teacher = true: {name} asks its teacher about other images than x: {GivenAnswer.EXPECTED}"
        return None
