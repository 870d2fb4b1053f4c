"""Whether tensors still hold what they held: compared bit for bit on their own device, nothing is hashed or fetched."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # in which a NaN is itself, and -0 is not 0


def tensors_of(*modules: nn.Module) -> dict[str, Tensor]:
    """Every parameter, its gradient where it has one, and every buffer, by a name of its own."""
    found: dict[str, Tensor] = {}
    for place, module in enumerate(modules):
        for name, value in (*module.named_parameters(), *module.named_buffers()):
            found[f"{place}.{name}"] = value.detach()
            if value.grad is not None:
                found[f"{place}.{name}.grad"] = value.grad
    return found


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same contents, which nobody else can change."""
    return {name: value.clone() for name, value in tensors.items()}


def same_bits(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether both hold the same names, types, shapes and bits."""
    return one.keys() == other.keys() and all(_same(value, other[name]) for name, value in one.items())


def _same(one: Tensor, other: Tensor) -> bool:
    alike = (one.dtype, one.shape, one.device) == (other.dtype, other.shape, other.device)
    return alike and torch.equal(_bits(one), _bits(other))


def _bits(value: Tensor) -> Tensor:
    return value.view(INTEGERS.get(value.dtype.itemsize, value.dtype))
