"""The norm of the Jacobian of the probabilities."""

import torch
from torch import Tensor

from ard.diagnostics.base import Found, diagnostic
from ard.diagnostics.inspected import Inspected

PROBES = 4


@diagnostic(
    tells="how fast probabilities change with pixels, at the images themselves",
    cannot="compare networks of other confidence: a saturated softmax hides the sensitivity of the logits below it",
    source="arXiv:1802.08760",
    runs="always",
)
def softmax_jacobian(of: Inspected) -> Found:
    """E_x ‖∂ softmax(f(x)) / ∂x‖_F, with a row a class; estimated by ‖vᵀJ‖² of random signs v, or exact with --exact.

    The estimate averages 4 probes an image before the root, which lies a little below the exact norm in the mean.
    """
    rows = of.logits.shape[1] if of.exact else PROBES
    generator, norms = of.generator("jacobian"), []
    for (x,) in of.blocks(of.x):
        weights = _classes(of, len(x)) if of.exact else _signs(of, len(x), generator)
        norms.append(_norms(of, x, weights, exact=of.exact))
    return Found(
        values={"mean norm": float(torch.cat(norms).double().mean())},
        settings={"backward passes": rows, "how": "exact" if of.exact else "random signs"},
    )


def _norms(of: Inspected, x: Tensor, weights: Tensor, *, exact: bool) -> Tensor:
    """The norm an image: weights (passes, n, classes) choose a row, or a random mix of rows, in every pass."""
    x = x.clone().requires_grad_()
    p = of.student(x).softmax(dim=1)
    squares = []
    for weight in weights:
        (row,) = torch.autograd.grad((weight * p).sum(), x, retain_graph=True)
        squares.append(row.flatten(1).square().sum(dim=1))
    total = torch.stack(squares).sum(dim=0)
    return (total if exact else total / len(weights)).sqrt()


def _classes(of: Inspected, n: int) -> Tensor:
    classes = of.logits.shape[1]
    return torch.eye(classes, device=of.x.device)[:, None, :].expand(classes, n, classes)


def _signs(of: Inspected, n: int, generator: torch.Generator) -> Tensor:
    shape = (PROBES, n, of.logits.shape[1])
    return 2.0 * torch.randint(2, shape, generator=generator, device=of.x.device) - 1
