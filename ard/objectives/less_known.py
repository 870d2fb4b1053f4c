"""Controls of distillation: the base is told less than the teacher's answer to the image."""

from math import log
from typing import Literal

import torch
from torch import Tensor, nn

from ard.core.errors import UserError
from ard.core.ranges import one_of
from ard.losses import at_least_float32, margin, shares_of
from ard.models.given_answer import GivenAnswer
from ard.objectives.ard import ARD
from ard.objectives.base import Composed, Objective, Pair, RunFacts

Told = Literal["one_hot", "same_odds", "class_mean", "another_image"]


class LessKnown(Composed):
    """A control: `base` is told, in the place of the teacher's answer T(x), something that knows less of the image.

    What is told of an image of class y, as logits, shape (batch, C):

    - "one_hot": m e_y, m the mean over all images of the teacher's margin T(x)_j − max_{k≠j} T(x)_k of its own class
      j = argmax T(x), whatever y is: one number of the teacher, so that what is left of it is a smoothed label, at the
      base's temperature and scale.
    - "same_odds": m e_y, too, with the m at which the log odds log p_y/(1 − p_y) of the softmax at the base's temperature t
      are those that T(x) gives j on average: m = mean of T(x)_j − t log Σ_{k≠j} exp(T(x)_k/t) + t log(C − 1). As sure of the
      label as the teacher is of j; a margin to the runner-up alone is less sure, as other classes are further away.
    - "class_mean": the mean of T(x) over the images of class y: how classes are alike, and nothing of an image.
    - "another_image": T of another image of class y in the batch, of this process where there are several, drawn anew each
      time; an image that is alone in its class keeps its own answer.

    Means are over all images that training has shown so far, on all processes, and over this process's present batch: after
    an epoch they hardly move. Attack loss and training loss are those of `base`.

    Args:
        base: The method: one that asks its teacher about x alone, by default ARD with t = 5.
        told: What it is told.

    Raises:
        UserError: For a base that has no teacher, or asks it about other images than x.
    """

    def __init__(
        self,
        *,
        base: Objective | None = None,
        told: Told = "class_mean",
    ) -> None:
        one_of(Told, told=told)
        base = base or ARD(temperature=5.0)
        super().__init__(base)
        self.told, self.labels = told, "class"
        if not (base.needs_teacher and base.asks_only_x):
            raise UserError(f"{type(base).__name__} does not ask a teacher about x: {GivenAnswer.EXPECTED}")
        self.answers, self.margins, self.counts = (nn.Buffer(torch.empty(0)) for _ in range(3))

    def setup(self, run: RunFacts) -> None:
        device = self.answers.device
        self.answers = nn.Buffer(torch.zeros(run.num_classes, run.num_classes, device=device))
        self.margins, self.counts = (nn.Buffer(torch.zeros(run.num_classes, device=device)) for _ in range(2))

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:
        logits = at_least_float32(teacher(x).detach())  # sums of many
        of_class = shares_of(y, logits.shape[1], logits.dtype)
        with torch.autocast(x.device.type, enabled=False):
            answers, margins = of_class.T @ logits, of_class.T @ self._margin(logits)
        sums = {"class_answers": answers, "class_margins": margins, "class_images": of_class.sum(dim=0)}
        attack_loss, training_loss = self.base(
            student, GivenAnswer(x, self._less(logits, y, sums), type(self.base).__name__), x, y
        )
        return attack_loss, lambda x_adv: self.with_own(training_loss(x_adv), **sums)

    def after_step(self, terms: dict[str, Tensor], student: nn.Module) -> None:  # noqa: ARG002
        self.answers.add_(terms["class_answers"])
        self.margins.add_(terms["class_margins"])
        self.counts.add_(terms["class_images"])

    def _margin(self, logits: Tensor) -> Tensor:
        """What is averaged to m: of the teacher's own class, since where labels are wrong their margins cancel out."""
        own = logits.argmax(dim=1)
        if self.told != "same_odds":
            return -margin(logits, own)
        t: float = next((vars(part)["temperature"] for part in self.base.parts() if "temperature" in vars(part)), 1.0)
        others = logits.shape[1] - 1
        rest = (logits.scatter(1, own[:, None], -torch.inf) / t).logsumexp(dim=1)
        return logits.gather(1, own[:, None]).squeeze(1) - t * (rest - log(others))

    def _less(self, logits: Tensor, y: Tensor, sums: dict[str, Tensor]) -> Tensor:
        if self.told == "another_image":
            return logits[self._partners(y)]
        counts = self.counts + sums["class_images"]
        if self.told == "class_mean":
            return ((self.answers + sums["class_answers"]) / counts.clamp_min(1)[:, None])[y]
        mean_margin = (self.margins + sums["class_margins"]).sum() / counts.sum()
        return mean_margin * shares_of(y, logits.shape[1], logits.dtype)

    def _partners(self, y: Tensor) -> Tensor:
        """For each image the place of another one of its class: the next in a random order, after the last the first."""
        order = torch.rand(len(y), generator=self.generator, device=y.device).argsort()
        order = order[y[order].argsort(stable=True)]
        same = y[order][:, None] == y[order]
        first = same.int().argmax(dim=1)  # of its class, in this order
        places = torch.arange(len(y), device=y.device)
        following = torch.where(places + 1 < first + same.sum(dim=1), places + 1, first)
        return torch.empty_like(order).scatter_(0, order, order[following])
