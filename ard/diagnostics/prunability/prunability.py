"""The smallest share of the weights with which the loss is nearly as low."""

from collections.abc import Mapping
from statistics import fmean

import torch
from torch import Tensor

from ard.core.statistics import chance_level
from ard.core.text import percent
from ard.diagnostics.base import Found, NotApplicableError, diagnostic
from ard.diagnostics.inspected import Inspected
from ard.diagnostics.layers import layers_of
from ard.diagnostics.other_weights import loss_and_accuracy

STEPS = 20  # shares of 0.05
RISE, FLOOR = 1.1, 1e-3  # the loss may be so many times as large, and so much larger: for a loss of nearly 0
DRAWS = 3


@diagnostic(
    tells="with how few weights the network does nearly as well, without training on: fewer are said to generalise better",
    cannot="rank robust students; nor say how robust a pruned network is, which wants attacks of its own; on attacked "
    "images it means nothing for a network that is not robust, whose loss there is huge and falls as it is pruned",
    source="arXiv:2103.06002",
)
def prunability(of: Inspected) -> Found:
    """The smallest share α in 0.05, 0.1 … 1 down to which L(α of the weights) ≤ 1.1 L(all) + 0.001, L the cross entropy.

    Of the weights of Conv2d and Linear layers the largest of all layers together are kept, BatchNorm folded in; or some at
    random, mean of 3 draws. On the clean images and on the fixed attacked ones of the whole network; not on these where the
    accuracy on them is not above that of naming one class always.
    """
    sizes = _sizes(of)
    total, generator = sum(size.numel() for size in sizes.values()), of.generator("prunability")
    orders = {
        "by magnitude": [torch.cat([size.flatten() for size in sizes.values()]).argsort(descending=True, stable=True)],
        "at random": [torch.randperm(total, generator=generator, device=of.x.device) for _ in range(DRAWS)],
    }
    kinds, settings = _kinds(of)
    cases = [(kind, how, order) for kind in kinds for how, drawn in orders.items() for order in drawn]
    shares: dict[str, list[float]] = {}
    for kind, how, order in of.track(cases, "prunability"):
        shares.setdefault(f"{kind} loss, {how}", []).append(_smallest(of, kinds[kind], sizes, order))
    return Found(values={name: fmean(found) for name, found in shares.items()}, settings=settings)


def _sizes(of: Inspected) -> dict[str, Tensor]:
    """The magnitude of every weight that may go, of the shape of its parameter."""
    weights, layers = dict(of.student.named_parameters()), layers_of(of.student, of.x[:1])
    sizes = {f"{layer.name}.weight": layer.weight.abs() for layer in layers if not layer.norm}
    sizes = {name: size.reshape(weights[name].shape) for name, size in sizes.items() if name in weights}
    if not sizes:
        raise NotApplicableError("no Conv2d or Linear layer has weights that are parameters")
    return sizes


def _kinds(of: Inspected) -> tuple[dict[str, Tensor], dict[str, float | str]]:
    """The images whose loss means something, and why others are left out."""
    right = of.robust_acc
    chance = chance_level(of.y.bincount().tolist())
    if right > chance:
        return {"clean": of.x, "robust": of.attacked}, {}
    reason = f"not measured: {percent(right)} of the attacked images are answered rightly, not above chance"
    return {"clean": of.x}, {"robust loss": reason}


def _smallest(of: Inspected, x: Tensor, sizes: Mapping[str, Tensor], order: Tensor) -> float:
    """The last share before the loss is first too large, when weights go from the end of the order."""
    most, smallest = RISE * loss_and_accuracy(of.student, {}, x, of.y)[0] + FLOOR, 1.0
    for left in range(STEPS - 1, 0, -1):
        kept = torch.zeros(len(order), dtype=torch.bool, device=order.device)
        kept[order[: -(-left * len(order) // STEPS)]] = True
        if loss_and_accuracy(of.student, _pruned(of, sizes, kept), x, of.y)[0] > most:
            break
        smallest = left / STEPS
    return smallest


def _pruned(of: Inspected, sizes: Mapping[str, Tensor], kept: Tensor) -> dict[str, Tensor]:
    weights = dict(of.student.named_parameters())
    masks = kept.split([size.numel() for size in sizes.values()])
    return {name: weights[name].detach() * mask.view(weights[name].shape) for name, mask in zip(sizes, masks, strict=True)}
