"""A network with fewer channels in some layers than its class would give it."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from ard.core.errors import UserError
from ard.models.wrappers import Network


class Narrowed(nn.Module):
    """A network without the channels that `ard prune --smaller` has cut out; layers that are not named are as in `network`.

    Raises UserError for a layer that the network does not have, and for sizes that are not its own or smaller.

    Args:
        network: The network as it was, {class_path, init_args}.
        sizes: By the name of a layer, the first two sizes of its weight: outputs and inputs of a convolution or a linear
            layer, inputs being those of one group; of a BatchNorm its channels alone.
        num_classes: How many logits it answers with.
    """

    def __init__(self, *, network: Network, sizes: Mapping[str, Sequence[int]], num_classes: int) -> None:
        super().__init__()
        self.network = network(num_classes=num_classes)
        for name, size in sizes.items():
            _narrow(_layer(self.network, name), name, tuple(size))

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


def _layer(network: nn.Module, name: str) -> nn.Module:
    try:
        return network.get_submodule(name)
    except AttributeError as error:
        raise UserError(f"sizes of {name!r}: {type(network).__name__} has no such layer") from error


def _narrow(layer: nn.Module, name: str, size: tuple[int, ...]) -> None:
    weight = layer.weight if isinstance(layer, _ConvNd | nn.Linear | _BatchNorm) else None
    were = () if weight is None else tuple(weight.shape[:2])
    if len(size) != len(were) or not all(1 <= new <= old for new, old in zip(size, were, strict=True)):
        raise UserError(
            f"sizes of {name!r}: {list(size)}; expected {len(were)} numbers from 1 to those of the layer, {were}"
        )
    if isinstance(layer, _BatchNorm):
        layer.num_features = size[0]
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = size
    elif isinstance(layer, _ConvNd):
        layer.groups = size[0] if layer.groups == were[0] else layer.groups  # a filter for each channel
        layer.out_channels, layer.in_channels = size[0], size[1] * layer.groups
    for part, value in layer.named_parameters(recurse=False):
        setattr(layer, part, nn.Parameter(_corner(value, size)))
    for part, statistic in layer.named_buffers(recurse=False):
        setattr(layer, part, _corner(statistic, size))


def _corner(value: Tensor, size: tuple[int, ...]) -> Tensor:
    """Its first entries: of a bias, as many as there are outputs; a number as it is."""
    return value.detach()[tuple(map(slice, size))[: value.ndim]].clone(memory_format=torch.contiguous_format)
