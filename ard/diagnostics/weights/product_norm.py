"""The product of the norms of all layers, which no change of scale between layers changes."""

from statistics import fmean

import torch
from torch import nn

from ard.diagnostics.base import Found, NotApplicableError, diagnostic
from ard.diagnostics.inspected import Inspected
from ard.diagnostics.layers import layers_of

OF_EACH_IMAGE = (nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm2d)


@diagnostic(
    tells="how large the weights are after everything is taken out that leaves the function as it is: one layer larger "
    "and the next smaller, or any scale before a BatchNorm",
    cannot="rank students: in a small check it did not go with robust accuracy; and it grows with the number of layers",
    source="after arXiv:2008.02965, with BatchNorm folded in",
    runs="always",
)
def product_norm(of: Inspected) -> Found:
    """Σ_l log ‖W_l‖_F with BatchNorm folded in: W γ/σ; one that no layer takes in is a layer of its own, γ/σ.

    In a chain of linear layers and ReLUs it bounds the slope, ‖∂f/∂x‖₂ ≤ Π_l ‖W_l‖_F; a shortcut's layer is one more factor.
    Biases do not count. Raises NotApplicableError for a layer of zeros and for networks that normalise each image by itself.
    """
    for module in of.student.modules():
        if isinstance(module, OF_EACH_IMAGE):
            raise NotApplicableError(f"{type(module).__name__} normalises each image by itself, whatever the weights' scale")
    norms = {layer.name: float(layer.weight.double().norm().log()) for layer in layers_of(of.student, of.x[:1])}
    for name, norm in norms.items():
        if norm == -torch.inf:
            raise NotApplicableError(f"layer {name} is all zeros, and with it the product")
    values = {"log of the product": sum(norms.values()), "mean log of a layer": fmean(norms.values())}
    return Found(values=values, layers={name: {"log norm": norm} for name, norm in norms.items()}, n=0)
