"""How far the answer moves under noise, in units of how far answers to different images lie apart."""

import torch
from torch import Tensor

from ard.diagnostics.base import Found, diagnostic
from ard.diagnostics.inspected import Inspected


@diagnostic(
    tells="how much the answers move under random noise of radius eps, as a share of how far the answers of two "
    "images lie apart",
    cannot="say what an attack finds, which moves pixels where it matters; noise does so by chance",
    source="after arXiv:2007.15378, made independent of the scale of the logits",
    runs="always",
)
def relative_output_sensitivity(of: Inspected) -> Found:
    """E‖c(f(x + n)) − c(f(x))‖² / E‖c(f(x)) − E c(f(x))‖², c(z) = z − mean(z), n random signs times eps (L2: of length eps).

    From 0; above 1, noise moves the answer further than another image would. A constant network has 0. Softmax ignores the
    mean of the logits and temperature their scale, so both are taken out.
    """
    moved = _centred(of.answers(of.student, of.noisy) - of.logits)
    apart = _centred(of.logits - of.logits.mean(dim=0))
    spread, movement = float(apart.square().sum(dim=1).mean()), float(moved.square().sum(dim=1).mean())
    return Found(values={"relative output sensitivity": movement / spread if spread else 0.0})


def _centred(logits: Tensor) -> Tensor:
    return (logits - logits.mean(dim=1, keepdim=True)).to(torch.float64)
