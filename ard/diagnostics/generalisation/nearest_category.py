"""Whether images of another kind get the answer that the image nearest to them has."""

import torch
from torch import Tensor

from ard.core.statistics import wilson_interval
from ard.diagnostics.activations import penultimate
from ard.diagnostics.base import Found, NotApplicableError, diagnostic
from ard.diagnostics.inspected import Inspected
from ard.models.combined_teachers import Ensemble


@diagnostic(
    tells="whether the network carries its answers on to images of another kind by nearness, in pixels and as the teacher "
    "sees them; networks that are trained to be robust do so more",
    cannot="rank robust networks, or say that an answer is right: images of another kind may have no right answer",
    source="arXiv:2011.08485",
)
def nearest_category(of: Inspected) -> Found:
    """Share of other images whose answer is the label of the nearest given image (L2), from 0 to 1, with its 95 % interval.

    The images given with --other; without, the same images with black and white exchanged, 1 − x. Nearness is measured in
    pixels and, where there is a teacher, between what its last linear layer reads. Chance is 1/C; "by label counts" is what
    answers that have nothing to do with nearness would get, sum_k P(answer = k) P(nearest = k).
    """
    kind, other = ("given", of.other[0]) if of.other is not None else ("1 - x", 1 - of.x)
    answers, spaces = of.answers(of.student, other).argmax(dim=1), {"pixels": (of.x, other)}
    chance = 1 / of.logits.shape[1]
    low, high = wilson_interval(chance, len(other))
    settings: dict[str, float | str] = {"images": kind, "chance, lower end": low, "chance, upper end": high}
    try:
        spaces |= _teacher_space(of, other)
    except NotApplicableError as reason:
        settings["teacher features"] = f"left out: {reason}"
    values: dict[str, float] = {}
    for space, (known, new) in spaces.items():
        nearest = of.y[_nearest(of, new.flatten(1), known.flatten(1))]
        values |= _shares(space, answers, nearest, classes=of.logits.shape[1])
    return Found(values=values | {"chance": chance}, settings=settings, n=len(other))


def _teacher_space(of: Inspected, other: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    if of.teacher is None:
        return {}
    if isinstance(of.teacher, Ensemble):
        raise NotApplicableError("the teacher is several networks")
    teacher = of.teacher
    known, new = (torch.cat([penultimate(teacher, block) for (block,) in of.blocks(x)]) for x in (of.x, other))
    return {"teacher features": (known, new)}


def _nearest(of: Inspected, new: Tensor, known: Tensor) -> Tensor:
    """The index of the nearest row of `known` for each of `new`; in float64, so that a sum of squares loses nothing."""
    return torch.cat([torch.cdist(block.double(), known.double()).argmin(dim=1) for (block,) in of.blocks(new)])


def _shares(space: str, answers: Tensor, nearest: Tensor, *, classes: int) -> dict[str, float]:
    share = float((answers == nearest).double().mean())
    low, high = wilson_interval(share, len(answers))
    counts = [torch.bincount(labels, minlength=classes).double() / len(labels) for labels in (answers, nearest)]
    by_counts = float((counts[0] * counts[1]).sum())
    return {space: share, f"{space}, lower end": low, f"{space}, upper end": high, f"{space}, by label counts": by_counts}
