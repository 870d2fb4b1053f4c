"""Train and eval mode of networks, for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


def held_in_eval(network: nn.Module) -> dict[str, nn.Module]:
    """The modules that somebody put into eval mode inside a network in train mode, by name; none where all is in eval."""
    found = network.named_modules() if network.training else ()
    return {name: module for name, module in found if not module.training}


@contextmanager
def in_mode(*networks: nn.Module, train: bool = False) -> Iterator[None]:
    """Every network in eval (or train) mode inside the block, but for what is held in eval mode; each mode comes back."""
    modes = {module: module.training for network in networks for module in network.modules()}
    try:
        for network in networks:
            held = held_in_eval(network) if train else {}  # to eval mode a network may be deaf, which is to be seen
            network.train(train)
            for module in held.values():
                module.training = False
        yield
    finally:
        for module, training in modes.items():
            module.training = training
