"""The layers that a pass through a network meets, in their order: what each is given and what follows it."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ard.core.errors import UserError
from ard.core.modes import in_mode
from ard.models.building import some_images

Weighted = nn.Conv2d | nn.Linear


@dataclass(kw_only=True, eq=False)
class Met:
    """A convolution or linear layer in one pass.

    Attributes:
        name: Of the module in its network.
        layer: The module.
        given: What it was given, shape (batch, channels, height, width) or (batch, ..., channels).
        answer: What it answered.
        norm: The BatchNorm that was given this very answer; None where none was.
    """

    name: str
    layer: Weighted
    given: Tensor
    answer: Tensor
    norm: _BatchNorm | None = None

    def folded(self) -> Tensor:
        """The weight with the BatchNorm behind it multiplied in, W γ / √(var + eps), shape (outputs, weights of an output).

        In train mode var is that of this very batch, as in the pass: so the gradient knows that what only scales W changes
        nothing. In eval mode it is the running one.
        """
        weight = self.layer.weight.flatten(1)
        if self.norm is None:
            return weight
        scale = (self._variance(weight.dtype) + self.norm.eps).rsqrt()
        return weight * (scale if self.norm.weight is None else scale * self.norm.weight)[:, None]

    def _variance(self, dtype: torch.dtype) -> Tensor:
        assert self.norm is not None
        if self.norm.running_var is not None and not self.norm.training:
            return self.norm.running_var
        others = [place for place in range(self.answer.ndim) if place != 1]
        return self.answer.to(dtype).var(dim=others, correction=0)


@contextmanager
def layers_met(network: nn.Module) -> Iterator[list[Met]]:
    """The list of what every pass inside the block meets; a layer that is asked twice is in it twice."""
    met: list[Met] = []
    names = {module: name for name, module in network.named_modules()}

    def note(module: nn.Module, inputs: tuple[Tensor, ...], answer: Tensor) -> None:
        if isinstance(module, Weighted) and isinstance(answer, Tensor):
            met.append(Met(name=names[module], layer=module, given=inputs[0], answer=answer))

    def follow(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        for layer in met:
            if isinstance(module, _BatchNorm) and layer.answer is inputs[0]:
                layer.norm = module

    with ExitStack() as hooks:
        for module in names:
            if isinstance(module, Weighted):
                hooks.enter_context(module.register_forward_hook(note))
            if isinstance(module, _BatchNorm):
                hooks.enter_context(module.register_forward_pre_hook(follow))
        yield met


def layers_in_order(network: nn.Module, image_shape: Sequence[int]) -> list[Met]:
    """What images of this shape, (channels, height, width), meet in eval mode; the network stays as it is.

    Raises UserError where there is no convolution and no linear layer.
    """
    with torch.no_grad(), in_mode(network), layers_met(network) as met:
        network(some_images(network, 2, image_shape))
    if not met:
        raise UserError(f"{type(network).__name__} has no Conv2d and no Linear layer: expected a network with some")
    return met
