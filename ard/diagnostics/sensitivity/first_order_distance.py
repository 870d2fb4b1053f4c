"""The distance to the decision boundary, were the network linear."""

import torch
from torch import Tensor

from ard.attacks import Ball, Linf, ascent
from ard.diagnostics.base import Found, NotApplicableError, diagnostic
from ard.diagnostics.inspected import Inspected
from ard.losses import margin


@diagnostic(
    tells="how far a pixel may move before the answer changes, were the network linear around each image",
    cannot="say that a network is robust: where the share beyond eps is far above robust accuracy, the network is bent "
    "or hides its gradient",
    source="linearisation of the margin, as in arXiv:1511.04599",
    runs="always",
)
def first_order_distance(of: Inspected) -> Found:
    """r(x) = m(x) / ‖∇ₓ m(x)‖*, with the margin m = f_y − max_{j≠y} f_j and the dual norm: L1 for Linf, L2 for L2.

    Negative where the answer is wrong. Scale-free: logits times a number give the same distance; exact for a linear network.
    An image whose margin has no gradient is infinitely far. Raises NotApplicableError where that is so for most of them.
    """
    distances = torch.cat([_distances(of, x, y) for x, y in of.blocks(of.x, of.y)])
    if not distances.median().isfinite():
        raise NotApplicableError("most margins have no gradient: the answers are constant, or hide it")
    values = {
        "median": float(distances.median()),
        "share beyond eps": float((distances >= of.ball.eps).double().mean()),
        "robust accuracy": of.robust_acc,
    }
    return Found(values=values)


def _distances(of: Inspected, x: Tensor, y: Tensor) -> Tensor:
    value, gradient = ascent(lambda x: -margin(of.student(x), y), x)
    length = _dual_norm(of.ball, gradient)
    return torch.where(length > 0, value / length, value.sign() * torch.inf)


def _dual_norm(ball: Ball, gradient: Tensor) -> Tensor:
    return gradient.abs().flatten(1).sum(dim=1) if isinstance(ball, Linf) else gradient.flatten(1).norm(dim=1)
