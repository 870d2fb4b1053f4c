"""What interval bounds say of logits, and of the lead of a label over every other."""

import math
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ard.core.errors import UserError
from ard.core.text import first_line
from ard.diagnostics.base import NotApplicableError
from ard.models.intervals import TensorInterval, interval_bounds


@dataclass(frozen=True)
class BoundedLogits:
    """Bounds of logits (n, C); where a linear layer makes these, that layer, and the bounds of what it reads."""

    logits: TensorInterval
    head: nn.Linear | None = None
    read: TensorInterval | None = None

    def smallest_margin(self, y: Tensor) -> Tensor:
        """A lower bound (n,) of f_y − max_{j≠y} f_j.

        Where a linear layer made the logits, of (w_y − w_j) h: what both have in common does not count twice.
        """
        bounds = [self._lead(y, other) for other in range(self.logits.shape[1])]
        return torch.stack(bounds, dim=1).scatter(1, y[:, None], math.inf).amin(dim=1)

    def _lead(self, y: Tensor, other: int) -> Tensor:
        """A lower bound (n,) of f_y − f_other."""
        if self.head is None or self.read is None:
            return self.logits.lower.gather(1, y[:, None]).squeeze(1) - self.logits.upper[:, other]
        weight = self.head.weight[y] - self.head.weight[other]
        lead = (weight * self.read.middle - weight.abs() * self.read.radius).sum(dim=1)
        return lead if self.head.bias is None else lead + self.head.bias[y] - self.head.bias[other]


def bounded_logits(network: nn.Module, x: Tensor, radius: float) -> BoundedLogits:
    """Bounds of a network's logits over all images in [0, 1] within `radius` of x (n, C, H, W) in every pixel.

    Raises NotApplicableError for a network with a layer that has no interval bounds.
    """
    met: list[tuple[nn.Linear, TensorInterval, TensorInterval]] = []

    def note(layer: nn.Linear, inputs: tuple[Any, ...], answer: Any) -> None:
        met.append((layer, inputs[0], answer))

    with ExitStack() as hooks, torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Linear):
                hooks.enter_context(layer.register_forward_hook(note))
        try:
            logits = interval_bounds(network, x, radius)
        except (UserError, TypeError, RuntimeError) as error:  # the last two from a scripted network, which takes tensors
            raise NotApplicableError(first_line(error)) from error
    heads = [BoundedLogits(logits, layer, read) for layer, read, answer in met if answer is logits]
    return heads[-1] if heads else BoundedLogits(logits)
