"""The extreme eigenvalues of the Hessian of the loss in the weights."""

import torch

from ard.diagnostics.base import Found, diagnostic
from ard.diagnostics.curvature import MeanLoss, extreme_eigenvalues
from ard.diagnostics.inspected import Inspected

PRODUCTS, IMAGES = 15, 50


@diagnostic(
    tells="how sharply the loss bends at the weights, upwards and downwards: a minimum has no clearly negative eigenvalue",
    cannot="compare networks with BatchNorm, whose scale of the weights is free and changes it; nor see further than the "
    "place itself",
    source="arXiv:1910.00359",
)
def hessian_eigenvalues(of: Inspected) -> Found:
    """The largest and the smallest eigenvalue of ∂²L/∂θ², L the mean cross entropy, on clean and on fixed attacked images.

    By Lanczos's iteration, 15 products of the Hessian with a vector, on 50 images, or all with --exact. Both come from
    inside: the true extremes lie further out, and some eigenvalue within ±.
    """
    chosen = of.sample(IMAGES, "hessian")
    values: dict[str, float] = {}
    for kind, x in {"clean": of.x, "robust": of.attacked}.items():
        loss = MeanLoss(of.student, x[chosen], of.y[chosen])
        theta = loss.theta
        start = torch.randn(theta.shape, generator=of.generator("hessian"), device=theta.device)
        steps = of.track(range(PRODUCTS), f"Hessian of the {kind} loss")
        found = extreme_eigenvalues(loss.hessian_times, start, steps)
        values |= {f"{kind} loss, largest": found.largest, f"{kind} loss, largest, ±": found.largest_within}
        values |= {f"{kind} loss, smallest": found.smallest, f"{kind} loss, smallest, ±": found.smallest_within}
    return Found(values=values, settings={"products": PRODUCTS}, n=len(chosen))
