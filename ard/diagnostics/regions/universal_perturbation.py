"""One perturbation for all images that makes a network answer with a given class."""

from collections.abc import Sequence
from statistics import fmean

import torch
import torch.nn.functional as F
from torch import Tensor

from ard.artifacts.diagnosis import Curve
from ard.diagnostics.base import Found, NotApplicableError, diagnostic
from ard.diagnostics.inspected import Inspected

PASSES, BATCH = 10, 25
STEP = 0.25  # of eps
ENOUGH = 0.8  # of the images that it is made from; then no further pass
PART = 0.1  # of the images, which it is made from; it is judged on the others
TARGETS = 10  # classes, where there are more, unless --exact


@diagnostic(
    tells="which classes lie open: how many images one perturbation that knows none of them turns into a class, and what it "
    "looks like",
    cannot="say that a network is robust: an attack that sees the image finds far more",
    source="arXiv:2008.07838",
)
def universal_perturbation(of: Inspected) -> Found:
    """v_t = argmin over ‖v‖ <= eps of mean CE(f(clip(x + v)), t) for a class t, by steps of sign gradients for Linf.

    v_t is made from a tenth of the images. Its fooling rate, from 0 to 1, is the share of the others, of classes but t, that
    get the answer t; beside it stands the share that get it without v_t.
    """
    order = torch.randperm(len(of.x), generator=of.generator("universal"), device=of.x.device)
    some, rest = order.tensor_split([max(2, round(PART * len(order)))])
    classes = of.logits.shape[1]
    targets = range(classes) if of.exact else torch.linspace(0, classes - 1, min(classes, TARGETS)).long().tolist()
    found = {}
    for target in of.track(targets, "universal perturbations"):
        sources, judged = (index[of.y[index] != target] for index in (some, rest))
        if len(sources) and len(judged):
            found[target] = _perturbation(of, of.x[sources], target), judged
    if not found:
        raise NotApplicableError(f"{len(of.x)} images are too few to make a perturbation and to judge it by others")
    with_it = [float(_rate(of, judged, target, v)) for target, (v, judged) in found.items()]
    without = [float((of.logits[judged].argmax(dim=1) == target).double().mean()) for target, (_, judged) in found.items()]
    return Found(
        values={"mean rate": fmean(with_it), "largest rate": max(with_it), "mean rate without": fmean(without)},
        curves={"rates": _rates_by_class(list(found), with_it, without)},
        pictures={f"class {target}": _picture(v) for target, (v, _) in found.items()},
        settings={"passes at most": PASSES, "made from": len(some), "classes": len(found)},
        n=len(rest),
    )


def _perturbation(of: Inspected, x: Tensor, target: int) -> Tensor:
    v, generator = torch.zeros_like(x[:1]), of.generator("universal", target)
    for _ in range(PASSES):
        fooled = 0
        for block in x[torch.randperm(len(x), generator=generator, device=x.device)].split(BATCH):
            v.requires_grad_()
            logits = of.student((block + v).clamp(0, 1))
            fooled += int((logits.argmax(dim=1) == target).sum())
            loss = F.cross_entropy(logits, torch.full_like(logits[:, 0], target, dtype=torch.long))
            (gradient,) = torch.autograd.grad(loss, v)
            v = of.ball.shrink(v.detach() - STEP * of.ball.eps * of.ball.steepest(gradient))
        if fooled >= ENOUGH * len(x):
            break
    return v


def _rate(of: Inspected, judged: Tensor, target: int, v: Tensor) -> Tensor:
    answers = of.answers(of.student, (of.x[judged] + v).clamp(0, 1)).argmax(dim=1)
    return (answers == target).double().mean()


def _rates_by_class(targets: Sequence[int], with_it: Sequence[float], without: Sequence[float]) -> Curve:
    return Curve(
        x_label="class",
        y_label="share of other images that get it",
        x=tuple(float(target) for target in targets),
        lines={"with the perturbation": tuple(with_it), "without": tuple(without)},
    )


def _picture(v: Tensor) -> Tensor:
    """(C, H, W) in [0, 1]: grey where nothing changes, black and white at the largest change."""
    return 0.5 + v[0] / (2 * v.abs().max()).clamp_min(torch.finfo(v.dtype).tiny)
