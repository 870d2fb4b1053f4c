"""Networks that are built: limits for those that a file of somebody else describes, what they answer, another of a kind."""

import copy
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from ard.core.errors import UserError
from ard.core.logits import logits_of

TENSORS = 20_000  # parameters; the largest classifiers have a few thousand
ASSUMED_MEMORY = 64 * 2**30  # bytes, where the system does not say how many there are


@contextmanager
def bounded(tensors: int = TENSORS, numbers: int | None = None) -> Iterator[None]:
    """Raises UserError as soon as more parameters are made, before they are filled; by default as many as memory holds
    four times: weights, gradients, momentum and a copy."""
    most = _memory() // 16 if numbers is None else numbers
    made = {"tensors": 0, "numbers": 0}

    def count(_: nn.Module, name: str, parameter: nn.Parameter | None) -> None:  # noqa: ARG001
        if parameter is None:
            return
        made["tensors"] += 1
        made["numbers"] += parameter.numel()
        if made["tensors"] > tensors or made["numbers"] > most:
            raise UserError(
                f"a network of more than {made['numbers']:,} parameters in {made['tensors']:,} tensors; "
                f"expected at most {most:,} in {tensors:,}"
            )

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def _memory() -> int:
    """The bytes of memory of this machine; Windows has no sysconf."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):
        return ASSUMED_MEMORY


def interchangeable(stored: Tensor, expected: Tensor) -> bool:
    """Whether a tensor from a file can stand for one of a network as it is: dense, really there, floats for floats."""
    plain = stored.layout == torch.strided and not (stored.is_meta or stored.is_quantized or stored.is_complex())
    return plain and stored.is_floating_point() == expected.is_floating_point()


def check_answers(network: nn.Module, shape: Sequence[int], num_classes: int, name: str, batch: int = 1) -> None:
    """Raises UserError where a network cannot read `batch` images of this shape, or does not return one logit a class."""
    with torch.no_grad():
        logits_of(network, torch.zeros(batch, *shape), name, num_classes)


def another(network: nn.Module) -> nn.Module:
    """A network of the same architecture with weights of its own, drawn anew where its layers know how."""
    copied = copy.deepcopy(network)
    for layer in copied.modules():
        if callable(reset := getattr(layer, "reset_parameters", None)):
            reset()
    return copied
