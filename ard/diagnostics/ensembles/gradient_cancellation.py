"""How much the gradients of an ensemble's members cancel."""

import torch
from torch import Tensor, nn

from ard.attacks import ascent
from ard.diagnostics.base import Found, NotApplicableError, diagnostic
from ard.diagnostics.inspected import Inspected
from ard.losses import attack_labels
from ard.models.combined_teachers import Ensemble

AT_ONCE = 100  # images, whose passes are kept for their gradients


@diagnostic(
    tells="whether the teacher's members pull an attack the same way: near 0 the ensemble's gradient is small because its "
    "members disagree, and an attack that follows it is weak",
    cannot="say that the ensemble is robust: a gradient that vanishes hides the way, it does not close it; and where one "
    "member's gradient is far larger, it is near 1 whatever the others do",
    source="arXiv:2002.04359",
    runs="with an ensemble teacher",
)
def gradient_cancellation(of: Inspected) -> Found:
    """‖mean_k g_k‖ / mean_k ‖g_k‖, g_k the gradient of member k's cross entropy in the pixels, L2; over images.

    1 for equal gradients, 1/sqrt(K) for K orthogonal ones of one length, 0 for opposite ones. Images where no member has a
    gradient are left out.
    """
    if not isinstance(of.teacher, Ensemble):
        raise NotApplicableError("the teacher is one network; several, comma-separated, are an ensemble")
    shares = torch.cat([_shares_left(of.teacher, x, y) for x, y in of.blocks(of.x, of.y, size=AT_ONCE)])
    if not len(shares):
        raise NotApplicableError("no member has a gradient at any image")
    values = {"mean": float(shares.mean()), "median": float(shares.median()), "10th percentile": float(shares.quantile(0.1))}
    return Found(values=values, settings={"members": len(of.teacher.networks)}, n=len(shares))


def _shares_left(teacher: Ensemble, x: Tensor, y: Tensor) -> Tensor:
    gradients = torch.stack([_gradient(member, x, y).flatten(1).double() for member in teacher.networks])
    lengths = gradients.norm(dim=2).mean(dim=0)
    left = gradients.mean(dim=0).norm(dim=1) / lengths
    return left[lengths != 0]


def _gradient(member: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Of one member alone, so that no more than its own pass is held."""
    return ascent(attack_labels(member, y), x)[1]
