"""LIET: one step of attack from a start without information about the label, and the same answer at both ends of it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import log

import torch
from torch import Tensor, nn

from ard.core.errors import UserError
from ard.core.modes import in_mode
from ard.core.ranges import at_least
from ard.losses import AttackLoss, cross_entropy, kl, log_softmax
from ard.objectives.base import Composed, Objective, Pair, RunFacts
from ard.objectives.pgd_at import PGDAT


class LIET(Composed):
    """Label information elimination training (LIET), ICCV 2025, by its authors' code; for any method that attacks.

    Attack loss: that of `base`, from the start x₀ = x ± δ, kept to [0, 1]. δ is the perturbation v_y of the image's class,
    of length eps, in which a share of the pixels, drawn for the batch from `ratio`, is noise instead; the sign is one coin
    for the batch. v_c is the direction in which CE(S(g), c) rises fastest at the grey image g = 0.5, in eval mode, anew
    after every `every` steps and at the end of each epoch, before the first step, too.
    Training loss: that of `base` + λ_e mean JSD(S(x₀), S(x')), λ_e = λ (e + 1) / E in epoch e of E, with the gradient of
    both answers. JSD is the Jensen-Shannon divergence, ½ KL(p ‖ m) + ½ KL(q ‖ m) with m = (p + q) / 2.

    Without a base both losses are CE with labels smoothed at random: the class has 1 − s, the others share s in proportion
    to uniform numbers; attack, training and v draw each their own. The run's own label smoothing comes on top in training.
    With a base these labels are left to v, and the losses are the base's. LIET is then start, v and JSD.

    The attack is to be one step of eps. Where that keeps to the ball (FGSM), so does x'. Above eps 8/255 the authors take
    noise of 2 eps, any ratio, and only keep x' to [0, 1]: noise 2, ratio [0, 1] and NFGSM, which says that it reaches 3 eps.

    Args:
        base: The method; PGD-AT with labels smoothed at random by default.
        smoothing: s, in [0, 1].
        strength: λ, at least 0.
        ratio: The least and the largest share of pixels that are noise, in [0, 1].
        noise: How far the noise reaches, in units of eps. Above 1 the start may leave the ball as far.
        every: Steps between two v, at least 1.

    Raises:
        UserError: For numbers out of range, and for a base that attacks nothing.
    """

    counts_epochs = True
    follows_progress = True

    def __init__(
        self,
        *,
        base: Objective | None = None,
        smoothing: float = 0.6,
        strength: float = 100.0,
        ratio: Sequence[float] = (0.1, 0.5),
        noise: float = 1.0,
        every: int = 20,
    ) -> None:
        super().__init__(base or PGDAT())
        at_least(0, smoothing=smoothing, strength=strength, noise=noise)
        at_least(1, every=every)
        if smoothing > 1:
            raise UserError(f"smoothing = {smoothing}: expected at most 1")
        if not (len(ratio) == 2 and 0 <= ratio[0] <= ratio[1] <= 1):
            raise UserError(f"ratio = {list(ratio)}: expected two shares of the pixels, such as [0.1, 0.5]")
        self.labels, self.smooths = "class", base is None
        self.smoothing, self.strength, self.ratio, self.noise, self.every = smoothing, strength, ratio, noise, every
        self.table = nn.Buffer(torch.empty(0))  # v / eps of every class
        self.batches, self.epochs = 1, 1

    def setup(self, run: RunFacts) -> None:
        self.threat, self.batches, self.epochs = run.threat, run.batches, max(1, run.max_epochs)
        device = next(run.student.parameters()).device
        self.table = nn.Buffer(torch.zeros(run.num_classes, *run.image_shape, device=device))
        with in_mode(run.student):
            self._look(run.student, torch.Generator(device).manual_seed(0))

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:
        found, training_loss = self._pair(student, teacher, x, y)
        attack_loss = self.needed(found)
        centre = AttackLoss.centre_of(attack_loss, x)
        start = (centre + self._move(x, y).repeat(len(centre) // len(x), 1, 1, 1)).clamp(0, 1)
        strength = self.strength * min(1.0, (self.epoch + 1) / self.epochs)

        def consistent(x_adv: Tensor) -> dict[str, Tensor]:
            before = student(start)
            with _heard(student, x_adv) as answers:
                terms = training_loss(x_adv)
            after = answers[0] if answers else student(x_adv)
            return self.with_own(terms, jsd=strength * jensen_shannon(before, after).mean())

        return AttackLoss.of(attack_loss, start=start), consistent

    def after_step(self, terms: dict[str, Tensor], student: nn.Module) -> None:  # noqa: ARG002
        batch = self.step.batch + 1
        if batch % self.every == 0 or batch == self.batches:
            self._look(student, self.generator)

    def _pair(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:
        if not self.smooths:
            return self.base(student, teacher, x, y)
        first, second = (smoothed(y, len(self.table), self.smoothing, self.generator) for _ in range(2))
        return self.base(student, teacher, x, first)[0], self.base(student, teacher, x, second)[1]

    def _move(self, x: Tensor, y: Tensor) -> Tensor:
        """What is added to each image, of x's shape: drawn for the run's radius, then scaled to that of the step."""
        mask = torch.rand(x.shape, generator=self.generator, device=x.device, dtype=x.dtype)
        share, coin = torch.rand(2, generator=self.generator, device=x.device, dtype=x.dtype)
        noise, (least, most) = self.noise * self.threat.uniform(x, self.generator), self.ratio
        move = torch.where(mask < least + (most - least) * share, noise, self.threat.eps * self.table[y].to(x.dtype))
        reach = max(1.0, self.noise)
        move = reach * self.threat.shrink(move / reach)  # two halves of an L2 ball are not in it together
        return torch.where(coin < 0.5, -move, move) * (self.step.eps / (self.threat.eps or 1.0))

    def _look(self, student: nn.Module, generator: torch.Generator | None) -> None:
        """Renew v; ranks whose BatchNorm statistics differ are given that of the first with the other buffers."""
        classes = torch.arange(len(self.table), device=self.table.device)
        labels = smoothed(classes, len(classes), self.smoothing, generator)
        with torch.enable_grad():
            grey = torch.full_like(self.table, 0.5).requires_grad_()
            (gradient,) = torch.autograd.grad(cross_entropy(student(grey), labels).sum(), grey)
        self.table.copy_(self.threat.steepest(gradient))


def smoothed(y: Tensor, num_classes: int, smoothing: float, generator: torch.Generator | None) -> Tensor:
    """Shares of classes, shape (batch, C): 1 − s for the class, and s among the others in proportion to uniform numbers.

    Args:
        y: Classes, shape (batch,).
        num_classes: C.
        smoothing: s, in [0, 1].
        generator: Of the numbers; None is torch's own.
    """
    others = torch.rand(len(y), num_classes, generator=generator, device=y.device).scatter(1, y[:, None], 0.0)
    shares = smoothing * others / others.sum(dim=1, keepdim=True).clamp_min(torch.finfo(others.dtype).tiny)
    return shares.scatter(1, y[:, None], 1 - smoothing)


def jensen_shannon(logits: Tensor, other: Tensor) -> Tensor:
    """½ KL(p ‖ m) + ½ KL(q ‖ m) of p, q = softmax of the logits and m = (p + q) / 2; (batch, C) twice -> (batch,)."""
    log_p, log_q = log_softmax(logits), log_softmax(other)
    log_m = torch.logaddexp(log_p, log_q) - log(2)
    return (kl(log_p, log_m) + kl(log_q, log_m)) / 2


@contextmanager
def _heard(student: nn.Module, x: Tensor) -> Iterator[list[Tensor]]:
    """What the student answers to this very tensor with a gradient inside the block: no pass of its own."""
    answers: list[Tensor] = []

    def listen(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if inputs and inputs[0] is x and output.requires_grad:
            answers.append(output)

    with student.register_forward_hook(listen):
        yield answers
