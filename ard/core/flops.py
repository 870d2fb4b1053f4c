"""How much arithmetic a computation is, counted while it runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten


def count_flops(call: Callable[[], Any]) -> int:
    """Floating-point operations of convolutions and matrix products in call(), forward and backward; 2 a multiply-add."""
    with FlopCounter() as counter:
        call()
    return counter.total


class FlopCounter(TorchDispatchMode):
    """Counts in `total` while it is entered, as count_flops does.

    torch's own FlopCounterMode hangs hooks on modules, which autograd.grad refuses, and overcounts grouped gradients.
    """

    paused = False

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if FlopCounter.paused:
            return out
        packet = func._overloadpacket
        if packet is aten.convolution:
            self.total += _convolution(out, args[1])
        elif packet is aten.convolution_backward:
            gradients = sum(args[10][:2])  # of the input, of the weight: each costs what the forward does
            self.total += gradients * _convolution(args[0], args[2])
        elif packet in flop_registry:
            self.total += flop_registry[packet](*args, **(kwargs or {}), out_val=out)
        return out


@contextmanager
def uncounted() -> Iterator[None]:
    """What a process does once, at its first step, is no part of a step's cost: a resumed run does it again."""
    FlopCounter.paused = True
    try:
        yield
    finally:
        FlopCounter.paused = False


def _convolution(out: torch.Tensor, weight: torch.Tensor) -> int:
    """Every output is a sum over the weights of its group."""
    return 2 * out.numel() * weight[0].numel()
