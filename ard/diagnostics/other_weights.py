"""A network with other weights in place of its own, which stay where they are: none is ever written to."""

from collections.abc import Mapping
from math import isfinite

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from ard.core.errors import UserError
from ard.core.logits import accuracy_of
from ard.diagnostics.inspected import Inspected

Weights = Mapping[str, Tensor]  # by the names of parameters; those that are missing are the network's own


@torch.no_grad()
def loss_and_accuracy(network: nn.Module, weights: Weights, x: Tensor, y: Tensor) -> tuple[float, float]:
    """Mean cross entropy on images x with labels y, and the share that is answered rightly.

    Raises UserError for a loss that is not finite, which would pass every comparison with another.
    """
    logits = torch.cat([functional_call(network, dict(weights), (block,)) for (block,) in Inspected.blocks(x)])
    loss = float(F.cross_entropy(logits.double(), y))
    if not isfinite(loss):
        raise UserError(f"the loss is {loss}; expected finite numbers: are the weights and the answers finite?")
    return loss, accuracy_of(logits, y)


def losses_with(of: Inspected, weights: Weights, chosen: Tensor | None = None) -> dict[str, tuple[float, float]]:
    """Loss and accuracy of the student on the clean images and on the attacked ones, which stay those of its own weights."""
    places = torch.arange(len(of.y), device=of.y.device) if chosen is None else chosen
    kinds = {"clean": of.x, "robust": of.attacked}
    return {kind: loss_and_accuracy(of.student, weights, x[places], of.y[places]) for kind, x in kinds.items()}


def filter_normalised(network: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    """A random direction d of the weights: for each filter i, d_i ~ N(0, I) · ‖θ_i‖ / ‖d_i‖, so that ‖d_i‖ = ‖θ_i‖.

    A filter is what makes one channel or answer, the first dimension of a tensor. Biases and BatchNorm, which have one
    dimension, do not move and are left out.
    """
    direction = {}
    for name, weight in network.named_parameters():
        if weight.ndim > 1:
            drawn = torch.randn(weight.shape, generator=generator, device=weight.device)
            scale = _filter_norms(weight.detach()) / (_filter_norms(drawn) + 1e-10)
            direction[name] = drawn * scale.view(-1, *[1] * (weight.ndim - 1))
    return direction


def _filter_norms(weight: Tensor) -> Tensor:
    return weight.flatten(1).norm(dim=1)


def along(network: nn.Module, *steps: tuple[float, Weights]) -> dict[str, Tensor]:
    """θ + Σ a d for steps (a, d)."""
    parameters = dict(network.named_parameters())
    weights = {name: parameters[name].detach() for _, direction in steps for name in direction}
    for amount, direction in steps:
        weights |= {name: weights[name] + amount * move for name, move in direction.items()}
    return weights
