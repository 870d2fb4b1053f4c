"""O1, O3–O9, O16–O20: are the accuracies in the order that holds for sound attacks?"""

import math
from collections import Counter
from collections.abc import Collection, Sequence
from itertools import pairwise

from ard.core.statistics import chance_level, wilson_interval
from ard.core.text import percent, percent_within
from ard.evaluation.adversaries import GradientAdversary
from ard.evaluation.checks.evidence import Evidence
from ard.evaluation.checks.result import CheckResult, at_most, by_chance, check, holds, skipped
from ard.evaluation.library_attacks import TARGETED
from ard.evaluation.suites import CURVE, FAR, MORE
from ard.losses import cross_entropy

RARE = 0.0002  # of images; in 224 stored records of honest networks at most 2 of 400, mostly none
CROSS_ENTROPY = ("PGD-20", "PGD-100")
MARGIN = ("CW", "DLR")


@check("O1", first="quick")
def more_steps_no_weaker(e: Evidence) -> CheckResult:
    """O1 (fail): acc(PGD-100) ≤ acc(PGD-20) ≤ acc(FGSM), up to max(3, 3.5 √d) where they disagree on d images."""
    chain = [name for name in ("FGSM", *CROSS_ENTROPY) if name in e.attacks]
    if len(chain) < 2:
        return skipped("fewer than two of FGSM, PGD-20 and PGD-100 ran")
    return _never_rises(e, chain, "images misclassified after fewer steps but not after more")


@check("O3", first="full")
def enough_restarts(e: Evidence) -> CheckResult:
    """O3 (warn): five more restarts of PGD-100 fool the model on no more images than 0.5 % of them are by chance."""
    if "PGD-100 × 10" not in e.attacks:
        return skipped("no restarts in this suite")
    first = ("PGD-100", "PGD-100 × 5")
    return _share(e, ["PGD-100 × 10"], first, "share of images misclassified only after restarts 6 to 10", warn=0.005)


@check("O4", first="quick")
def cross_entropy_not_weaker(e: Evidence) -> CheckResult:
    """O4 (warn or fail): margin losses fool the model on at most 5 % more of the images than cross entropy does, up to
    1.64 √d where they disagree on d images; it fails above if cross entropy also has no gradient at all on 1 % of them.
    """
    entropies = [name for name in CROSS_ENTROPY if name in e.attacks]
    margins = [name for name in MARGIN if name in e.attacks]
    if not entropies or not margins:
        return skipped("no attack on cross entropy and on a margin to compare")
    no_gradient = float((e.gradients(cross_entropy).flatten(1).abs().amax(dim=1) == 0).double().mean()) > 0.01
    reason = "share of images misclassified only after margin losses, minus those only after cross entropy" + (
        ": cross entropy has no gradient" if no_gradient else ""
    )
    more, fewer = e.fooled_only_by(margins, entropies), e.fooled_only_by(entropies, margins)
    most = 0.05 + 1.64 * math.sqrt(more + fewer) / e.n  # of 282 honest records the largest is 4.4 %
    return at_most((more - fewer) / e.n, reason, warn=most, fail=most if no_gradient else None)


@check("O5", first="quick")
def targets_add_little(e: Evidence) -> CheckResult:
    """O5 (warn): targeted attacks fool the model on no more of the images that withstand all untargeted ones than 1 % of
    them are by chance.
    """
    aimed = [name for name in ("Targeted", *TARGETED, "Targeted × 3") if name in e.attacks]
    if not aimed:
        return skipped("no targeted attack in this suite")
    others = [name for name in e.white_box if name not in aimed]
    return _share(e, aimed, others, "share of images misclassified only after targeted attacks", warn=0.01)


@check("O6", first="quick")
def gradients_beat_square(e: Evidence) -> CheckResult:
    """O6 (fail): Square, which uses no gradient, fools the model on no more images that withstand every white-box attack
    than 0.02 % of them are by chance; in quick, whose attacks are weaker, a short random search and 0.5 %.
    """
    for name, rate in (("Square", RARE), ("Squares", 0.005)):
        if name in e.attacks:
            return _none(e, [name], f"images misclassified only after {name}: gradients are masked", rate)
    return skipped("no attack without gradients in this suite")


@check("O7", first="full")
def gradients_beat_noise(e: Evidence) -> CheckResult:
    """O7 (fail): 100 draws of full-length noise fool the model on no more images that withstand every white-box attack than
    0.02 % of them are by chance.
    """
    if "Noise" not in e.attacks:
        return skipped("noise is part of the suite full")
    return _none(e, ["Noise"], "images misclassified only after random noise")


@check("O8", first="full")
def gradients_beat_transfer(e: Evidence) -> CheckResult:
    """O8 (fail): attacks through other models fool it on no more images that withstand every white-box attack than 0.5 % of
    them are by chance.
    """
    sources = [name for name in e.attacks if name.startswith("Transfer")]
    if not sources:
        return skipped("no model to transfer from: --transfer FILE in the suite full")
    return _none(e, sources, "images misclassified only after transfer from other models", 0.005)


@check("O9", first="full")
def decreases_with_the_radius(e: Evidence) -> CheckResult:
    """O9 (fail): accuracy under PGD-20 does not rise with the radius, up to max(3, 3.5 √d) as in O1."""
    names = [f"PGD-20 at {factor:g} eps" for factor in CURVE]
    if not all(name in e.verdicts.correct for name in names):
        return skipped("the sweep over radii is part of the suite full")
    return _never_rises(
        e, [*names[:2], "PGD-20", *names[2:]], "images misclassified at a smaller radius but not at a larger one"
    )


@check("O16", first="standard")
def as_published(e: Evidence) -> CheckResult:
    """O16 (warn): AutoAttack's accuracy is within 2.5 standard errors of the number published for these weights."""
    measured, published = e.verdicts.autoattack_acc, e.given.published
    if published is None or measured is None:
        return skipped(
            "no published AutoAttack accuracy given (--published)" if published is None else "AutoAttack did not run"
        )
    error = math.sqrt(max(published * (1 - published), 1 / e.n) / e.n)
    return at_most(abs(measured - published), "distance from the published AutoAttack accuracy", warn=2.5 * error)


@check("O17", first="standard")
def plausible(e: Evidence) -> CheckResult:
    """O17 (warn): the robust accuracy is not above the best public one of its class, nor above its teacher's by 2
    points and by two standard errors, 1/√n; if it is, look for a mistake.
    """
    bounds = [e.given.best_known] if e.given.best_known is not None else []
    bounds += [e.given.teacher_acc + max(0.02, 1 / math.sqrt(e.n))] if e.given.teacher_acc is not None else []
    if not bounds:
        return skipped("no public record for such a network and no record beside the teacher's weights (--teacher)")
    value = float(e.verdicts.worst.double().mean())
    return at_most(value, "robust accuracy; limit: the best known, or just above the teacher", warn=min(bounds))


@check("O18", first="quick")
def pgd_not_far_above_autoattack(e: Evidence) -> CheckResult:
    """O18 (warn or fail): PGD-20 is at most 10 points above AutoAttack, up to a standard error; in quick above the worst
    case of the images that every attack was for. Above 20 points standard and full attack again with more effort (restarts,
    targets, queries, the identity for the gradient of what is not differentiated rightly); it fails if all gradient
    attacks together then leave more than 20 points above the worst case.
    """
    if e.gap is None:
        return skipped("neither AutoAttack nor the short attacks of quick ran")
    image_count = len(e.attacked_indices(e.attacks))
    warn = 0.1 + math.sqrt(max(e.gap, 0.0) / image_count)
    if e.gap <= FAR:
        return at_most(e.gap, "PGD-20 minus AutoAttack, or minus the worst case", warn=min(warn, FAR))
    again = [name for name in MORE if name in e.attacks]
    if not again:
        return at_most(e.gap, "PGD-20 minus AutoAttack, or minus the worst case", fail=FAR)
    fooled = [a.name for a in e.adversaries if isinstance(a, GradientAdversary) and not a.probe and a.name in e.white_box]
    left = e.left_after(fooled) - float(e.verdicts.worst.double().mean())
    reason = f"PGD-20 is {e.gap:.0%} above AutoAttack; attacked again with {', '.join(again)}: what gradients leave above it"
    return at_most(left, reason, fail=FAR) if left > FAR else at_most(e.gap, reason, warn=FAR)


@check("O19", first="full")
def many_classes_predicted(e: Evidence) -> CheckResult:
    """O19 (warn): no class is more than half of all predictions, unless it has two thirds of that share in the data."""
    most = Counter(e.logits().argmax(dim=1).tolist()).most_common(1)[0][1] / len(e.sample[1])
    true = Counter(e.sample[1].tolist()).most_common(1)[0][1] / len(e.sample[1])
    return at_most(most, "share of predictions that are the most frequent class", warn=min(1.0, max(0.5, 1.5 * true)))


@check("O20", first="quick")
def above_chance(e: Evidence) -> CheckResult:
    """O20 (warn): the clean accuracy is above that of always predicting the most frequent class, with its whole interval."""
    accuracy = e.verdicts.accuracy("clean")
    counts, shown = Counter(e.y.tolist()).values(), percent_within(accuracy, *wilson_interval(accuracy, e.n))
    reason = f"the clean accuracy, {shown}, is above chance, {percent(max(counts) / e.n)}"
    return holds(accuracy > chance_level([*counts]), reason, otherwise="warn")


def _never_rises(e: Evidence, chain: Sequence[str], reason: str) -> CheckResult:
    """Each attack fools the model on at least as many images as the one before. Two sound ones with other random starts
    differ by chance on d images, half of them either way, so the difference has the standard deviation √d (McNemar's test).
    At 3.5 of them one sound record in 4,000 fails; at 2.5 it is one in 160, which happened in a table of seventy.
    """
    worst = (-math.inf, 0.0, 0.0)
    for weaker, stronger in pairwise(chain):
        weaker_only, stronger_only = e.fooled_only_by([weaker], [stronger]), e.fooled_only_by([stronger], [weaker])
        allowed = max(3.0, 3.5 * math.sqrt(weaker_only + stronger_only))
        worst = max(worst, (weaker_only - stronger_only - allowed, max(0, weaker_only - stronger_only), allowed))
    return at_most(worst[1], reason, fail=worst[2])


def _none(e: Evidence, names: Collection[str], reason: str, rate: float = RARE) -> CheckResult:
    allowed = by_chance(len(e.attacked_indices(names)), rate)
    return at_most(e.fooled_only_by(names, e.white_box), reason, fail=allowed)


def _share(e: Evidence, names: Collection[str], others: Collection[str], reason: str, *, warn: float) -> CheckResult:
    """Of the images that the attacks were for; the threshold is the share that chance makes of `warn`."""
    shown = len(e.attacked_indices(names))
    return at_most(e.fooled_only_by(names, others) / shown, reason, warn=by_chance(shown, warn) / shown)
