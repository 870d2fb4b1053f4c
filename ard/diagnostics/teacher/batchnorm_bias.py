"""How many BatchNorm biases are negative."""

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from ard.diagnostics.base import Found, NotApplicableError, diagnostic
from ard.diagnostics.inspected import Inspected


@diagnostic(
    tells="how sparse a student's nodes are: a negative bias before a ReLU keeps a node off for most images, as those of a "
    "teacher that overlap little",
    cannot="rank students: in a trial one distilled without any attack had a share of 0.83, and was not robust",
    source="arXiv:1905.13405",
    runs="always",
)
def batchnorm_bias(of: Inspected) -> Found:
    """Share of the biases beta of BatchNorm layers with beta <= 0, from 0 to 1; no image is looked at."""
    norms = {name: layer.bias for name, layer in of.student.named_modules() if isinstance(layer, _BatchNorm)}
    biases = {name: bias.detach() for name, bias in norms.items() if bias is not None}
    if not biases:
        raise NotApplicableError("it has no BatchNorm with a bias")
    layers = {name: {"share <= 0": float((bias <= 0).double().mean())} for name, bias in biases.items()}
    share = float((torch.cat(list(biases.values())) <= 0).double().mean())
    return Found(values={"share <= 0": share}, layers=layers, n=0)
