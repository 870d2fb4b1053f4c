"""Output sensitivity as it was published."""

import torch

from ard.diagnostics.base import Found, diagnostic
from ard.diagnostics.inspected import Inspected

SIGMA = 0.1  # as in the released code


@diagnostic(
    tells="the published number, for comparison with papers",
    cannot="rank students: it grows with the square of the logits' scale, and sees only the mean over classes, "
    "which softmax ignores",
    source="arXiv:2007.15378",
    runs="always",
)
def output_sensitivity(of: Inspected) -> Found:
    """Var_x(mean_k (f_k(x + n) − f_k(x))), n ~ N(0, 0.1²) for each pixel and not clamped, f the logits.

    From 0. A linear network f(x) = Wx has 0.1² ‖mean_k w_k‖².
    """
    noise = torch.randn(of.x.shape, generator=of.generator("output sensitivity"), device=of.x.device)
    moved = (of.answers(of.student, of.x + SIGMA * noise) - of.logits).mean(dim=1)
    return Found(values={"output sensitivity": float(moved.double().var(correction=0))}, settings={"sigma": SIGMA})
