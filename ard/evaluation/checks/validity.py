"""V1–V8: did the attacks respect the threat model, and was every image counted once?"""

import torch

from ard.evaluation.cascade import evaluation_mode
from ard.evaluation.checks.evidence import Evidence
from ard.evaluation.checks.result import CheckResult, at_most, check, holds, skipped
from ard.evaluation.recorded_calls import answers_of
from ard.evaluation.suites import pgd, scaled


@check("V1", first="quick")
def in_the_ball(e: Evidence) -> CheckResult:
    """V1 (fail): max(‖x' − x‖ − eps (1 + 1e-5)) ≤ 1e-6 for every attack and its own radius."""
    bounded = [a.name for a in e.adversaries if a.ball is not None]
    beyond = [_beyond(e.verdicts.largest(name, "distance"), e.verdicts.largest(name, "reach")) for name in bounded]
    return at_most(max([0.0, *beyond]), "how far the largest perturbation leaves its ball", fail=1e-6)


@check("V2", first="quick")
def in_range(e: Evidence) -> CheckResult:
    """V2 (fail): every attacked pixel is in [0, 1] exactly."""
    outside = max((e.verdicts.largest(a.name, "outside") for a in e.adversaries), default=0.0)
    return at_most(outside, "how far attacked pixels leave [0, 1]", fail=0.0)


@check("V3", first="quick")
def finite(e: Evidence) -> CheckResult:
    """V3 (fail): no NaN or Inf among attacked pixels or logits."""
    broken = sum(e.verdicts.total(name, "broken") for name in e.verdicts.correct)
    return at_most(broken, "images with NaN or Inf among attacked pixels or logits", fail=0)


@check("V4", first="quick")
def moved(e: Evidence) -> CheckResult:
    """V4 (fail): at least 99 % of the correctly classified images were moved by a tenth of eps by some attack."""
    clean = e.verdicts.correct["clean"]
    if not e.ball.eps or not clean.any():
        return skipped("at radius 0 no image may be moved" if not e.ball.eps else "no image is classified correctly")
    unmoved = 1 - float(e.verdicts.moved[clean].double().mean())
    return at_most(unmoved, "share of correctly classified images that no attack moved by a tenth of eps", fail=0.01)


@check("V5", first="quick")
def same_again(e: Evidence) -> CheckResult:
    """V5 (fail): the stored adversarial images get the same verdicts in batches of another size, and from a copy of the
    network that was made before its first call, without a tie of the largest logits; 1, or 1 in 1,000, may differ. In a
    fresh process `ard verify` lets only ties differ.
    """
    changed = e.verdicts.total("clean", "changed")
    copied = e.copies.fresh()
    with evaluation_mode(copied):
        logits = answers_of(copied, e.verdicts.x_adv.to(e.x.device))
    if len(logits) == e.n:  # V8 says what is missing
        tied = (logits == logits.amax(dim=1, keepdim=True)).sum(dim=1) > 1
        differ = ((logits.argmax(dim=1) == e.y).cpu() != e.verdicts.worst) | (tied.cpu() & e.verdicts.worst)
        changed = max(changed, int(differ.sum()))
    reason = "verdicts that differ when recomputed in other batches" + (
        " or by an untouched copy" if e.copies.possible else "; the network cannot be copied: run `ard verify`"
    )
    return at_most(changed, reason, fail=max(1, 0.001 * e.n))


@check("V6", first="quick")
def consistent(e: Evidence) -> CheckResult:
    """V6 (fail): every image that is robust is classified correctly when clean, and at radius 0 the reverse holds."""
    at_zero = e.correct_after(pgd(scaled(e.ball, 0), 20)) != (e.logits().argmax(dim=1) == e.sample[1])
    wrong = e.verdicts.total("clean", "robust_but_wrong") + int(at_zero.sum())
    return at_most(
        wrong, "images that are robust but wrong when clean, or misclassified only after an attack of radius 0", fail=0
    )


@check("V7", first="quick")
def no_side_effects(e: Evidence) -> CheckResult:
    """V7 (fail): parameters, buffers, gradients, modes and random states are bit-equal before and after."""
    touched = sum(bool(block.facts["clean"].get("touched")) for block in e.verdicts.blocks)
    return at_most(touched, "blocks of images whose evaluation left the model or the random state changed", fail=0)


@check("V8", first="quick")
def each_once(e: Evidence) -> CheckResult:
    """V8 (fail): the judged indices are 0 … n − 1, each once."""
    return holds(torch.equal(e.verdicts.indices, torch.arange(e.n)), "every image was judged exactly once")


def _beyond(distance: float, reach: float) -> float:
    return distance - reach * (1 + 1e-5)
