"""O2, O10–O15: extra runs of the attacks for which the sound result is known."""

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ard.attacks import Ball, Linf
from ard.core.randomness import keyed_generator
from ard.evaluation.adversaries import Adversary, Goal
from ard.evaluation.cascade import evaluation_mode
from ard.evaluation.checks.evidence import Evidence
from ard.evaluation.checks.result import CheckResult, at_most, by_chance, check, skipped
from ard.evaluation.gradient_check import WRONG, gradient_errors
from ard.evaluation.recorded_calls import RecordedCall, called
from ard.evaluation.suites import pgd
from ard.losses import Loss, cross_entropy, margin


@check("O2", first="full")
def converged(e: Evidence) -> CheckResult:
    """O2 (warn): PGD-100 is at most 0.5 points below PGD-50, and its best losses have converged: over the last
    10 steps they change by at most 5 % of their whole gain (Pintor et al., NeurIPS 2022).
    """
    half, whole = (int(e.correct_after(pgd(e.ball, steps, name="PGD-50/100")).sum()) for steps in (50, 100))
    n = len(e.sample[1])
    losses = _trace(e, 100).cummax(dim=0).values
    gained = (losses[-1] - losses[0]).clamp_min(1e-12)
    unsettled = float(((losses[-1] - losses[-11]) / gained).mean())
    if half - whole > by_chance(n, 0.005):
        return at_most(
            (half - whole) / n,
            "share of images misclassified after 100 steps of PGD but not after 50",
            warn=by_chance(n, 0.005) / n,
        )
    return at_most(unsettled, "share of its gain that PGD-100 makes in its last 10 steps", warn=0.05)


@check("O10", first="quick")
def unbounded(e: Evidence) -> CheckResult:
    """O10 (fail): with room for a solid grey image, PGD-20 brings accuracy down to chance: at most c + 3 √(c (1 −
    c) / n).
    """
    accuracy = float(e.correct_after(pgd(everywhere(e), 20)).double().mean())
    return at_most(accuracy, "accuracy under PGD-20 with room for a solid grey image", fail=_chance(e))


@check("O11", first="quick")
def gradients_exist(e: Evidence) -> CheckResult:
    """O11 (fail or warn): no image is without a gradient of the margin, at most 1 % are without one of cross
    entropy, and at most three quarters of coordinates are 0 (a max-pool on the pixels leaves half).
    """
    margins, entropies = (e.gradients(loss).flatten(1) for loss in (margin, cross_entropy))
    without = int((margins == 0).all(dim=1).sum())
    if without:
        return at_most(without, "images on which the margin has no gradient", fail=0)
    without_entropy = float((entropies == 0).all(dim=1).double().mean())
    if without_entropy > 0.01:
        return at_most(without_entropy, "share of images on which cross entropy has no gradient", warn=0.01)
    return at_most(float((margins == 0).double().mean()), "share of coordinates whose gradient is exactly 0", warn=0.75)


@check("O12", first="full")
def loss_rises(e: Evidence) -> CheckResult:
    """O12 (fail): the mean loss at the last step of PGD-100 is above that at its start."""
    if not e.ball.eps:
        return skipped("at radius 0 no loss can rise")
    losses = _trace(e, 100).mean(dim=1)
    return at_most(float(losses[0] - losses[-1]), "mean loss at PGD's start minus at its end", fail=-1e-9)


@check("O13", first="quick")
def gradients_are_right(e: Evidence) -> CheckResult:
    """O13 (fail): at most 2 % of gradients are wrong by more than a tenth: those that attacks followed, and those of 100
    images in the ball and at their adversarial images, for cross entropy, margin and a random loss. Each is held against the
    gradient of a copy made before the first call, and against differences of the logits along three random directions, in
    float64 with a step of 1e-6, or in float32 with 2e-4, and errors up to 0.3, where it does not run in float64.
    """
    errors = gradient_errors(e.copies, _own_gradients(e), e.seed)
    seen, wrong = e.verdicts.total("clean", "gradients"), e.verdicts.total("clean", "wrong_gradients")
    own = float((errors > WRONG).double().mean()) if len(errors) else 0.0
    if not len(errors) and not seen:
        return skipped("no loss has a gradient in the logits: see O11")
    share = max(own, wrong / seen if wrong > 0.02 * seen else 0.0)  # an interrupted evaluation has seen fewer
    median = f" (median error {float(errors.median()):.1e})" if len(errors) else ""
    return at_most(share, f"share of gradients that are wrong by more than a tenth{median}", fail=0.02)


def _own_gradients(e: Evidence) -> list[RecordedCall]:
    """Of the sample at random places in the ball, a third of it for each loss, and at the kept attempts of all."""
    x, y = e.sample
    chosen = torch.linspace(0, e.n - 1, len(y)).round().long()
    generator = keyed_generator(x.device, "gradients", e.seed)
    attempts = e.verdicts.x_adv.to(x.device)[chosen.to(x.device)] if len(e.verdicts.blocks) else x
    moved = e.ball.project(x + e.ball.uniform(x, generator), x)
    random = torch.randn(len(y), e.num_classes, generator=generator, device=x.device)
    losses = [lambda z, y, _: cross_entropy(z, y), lambda z, y, _: margin(z, y), lambda z, _, r: (z * r).sum(dim=1)]
    with evaluation_mode(e.model):
        seen = [called(e.model, attempts, lambda z: margin(z, y))]
        for place, loss in enumerate(losses):
            part = slice(place, None, len(losses))
            if len(y[part]):
                seen.append(called(e.model, moved[part], partial(_with, loss, y[part], random[part])))
    return seen


def _with(loss: Any, y: Tensor, random: Tensor, logits: Tensor) -> Tensor:
    return loss(logits, y, random)


@check("O14", first="full")
def scale_free(e: Evidence) -> CheckResult:
    """O14 (warn): with logits times 0.01 or 100 the margin attack leaves the same accuracy, within a point."""
    n = len(e.sample[1])
    attack = pgd(e.ball, 30, loss=margin, name="CW")
    counts = [int(e.correct_after(attack, Scaled(e.model, factor)).sum()) for factor in (0.01, 1, 100)]
    moves = (max(counts) - min(counts)) / n
    return at_most(moves, "change of accuracy when logits are scaled", warn=by_chance(n, 0.01) / n)


@check("O15", first="quick")
def controls(e: Evidence) -> CheckResult:
    """O15 (fail): an attack that does nothing leaves the clean accuracy; an undefended network is brought to 1 %, where it
    is so without a bound and the radius is that of 8/255 on CIFAR, eps √pixels ≥ 1.74 (in L2: eps ≥ 0.5).
    """
    clean = e.logits().argmax(dim=1) == e.sample[1]
    if not torch.equal(e.correct_after(Identity(name="identity", ball=e.ball)), clean):
        return at_most(1, "an attack that does nothing changed the accuracy", fail=0)
    control, n = e.given.undefended, len(e.sample[1])
    if control is None:
        return skipped("the attack that does nothing passes; no undefended network given (--undefended FILE)")
    allowed, boundless = by_chance(n, 0.01) / n, _both(e, everywhere(e), control)
    if boundless > allowed:  # a grey image may happen to be right: then 1 % cannot be expected
        reason = "accuracy of the undefended network without a bound"
        return (
            skipped(f"{reason}: {boundless:.0%}") if boundless <= _chance(e) else at_most(boundless, reason, fail=_chance(e))
        )
    if not _fatal(e.ball, e.x[0].numel()):
        return skipped("the undefended network is fooled without a bound; for this radius and image size it need not be")
    return at_most(_both(e, e.ball, control), "accuracy of the undefended network under the same attacks", fail=allowed)


def everywhere(e: Evidence) -> Ball:
    """A ball large enough to hold a solid grey image for every x."""
    if e.ball.norm == "Linf":
        return Linf(eps=0.5)
    return type(e.ball)(eps=0.5 * math.sqrt(e.x[0].numel()))


@dataclass(frozen=True, kw_only=True)
class Identity(Adversary):
    """x' = x."""

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        return x.clone()

    @property
    def settings(self) -> dict[str, Any]:
        return {}

    @property
    def passes(self) -> float:
        return 0.0


class Scaled(nn.Module):
    """A model with its logits times a factor."""

    def __init__(self, network: nn.Module, factor: float) -> None:
        super().__init__()
        self.network, self.factor = network, factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * self.network(x)


def _recording(goal: Goal, losses: list[Tensor]) -> Goal:
    """The goal, writing down the loss of every point that the attack asks for."""

    def recorded(model: nn.Module, x: Tensor, y: Tensor) -> Loss:
        loss = goal(model, x, y)

        def noted(x_adv: Tensor) -> Tensor:
            value = loss(x_adv)
            losses.append(value.detach())
            return value

        return noted

    return recorded


def _trace(e: Evidence, steps: int) -> Tensor:
    """The cross entropy of every image of the sample at every step of PGD (steps + 1, images)."""
    attack = pgd(e.ball, steps)
    losses: list[Tensor] = []
    e.correct_after(replace(attack, goals=[_recording(goal, losses) for goal in attack.goals]))
    return torch.stack(losses)


def _chance(e: Evidence) -> float:
    """c + 3 √(c (1 − c) / n) with c = 1 / classes: an accuracy that guessing seldom exceeds on the sample."""
    chance = 1 / e.num_classes
    return chance + 3 * math.sqrt(chance * (1 - chance) / len(e.sample[1]))


def _fatal(ball: Ball, pixels: int) -> bool:
    """Whether the radius is large enough to fool any undefended network: as 8/255 on CIFAR, or 0.5 in L2."""
    reach, needed = (
        (ball.eps * math.sqrt(pixels), 8 / 255 * math.sqrt(3 * 32 * 32)) if ball.norm == "Linf" else (ball.eps, 0.5)
    )
    return reach >= needed * (1 - 1e-6)


def _both(e: Evidence, ball: Ball, model: nn.Module) -> float:
    """Accuracy of a model after PGD-20 on cross entropy and CW, image by image."""
    robust = e.correct_after(pgd(ball, 20), model) & e.correct_after(pgd(ball, 30, loss=margin, name="CW"), model)
    return float(robust.double().mean())
