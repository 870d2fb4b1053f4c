"""What layers read: their inputs on given images, sampled or averaged over places, one column a channel."""

from collections.abc import Callable, Collection
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from ard.core.randomness import keyed_generator

AT_A_TIME = 250  # images
SAMPLES = 4096  # places of images at which a layer's input is looked at, about


def inputs_of(network: nn.Module, layers: Collection[str], x: Tensor, look: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """By layer the inputs that it is given on images x (n, C, H, W), each part of them as `look` returns it, joined."""
    seen: dict[str, list[Tensor]] = {name: [] for name in layers}

    def listen(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda _, inputs: seen[name].append(look(inputs[0]))

    with ExitStack() as stack, torch.no_grad():
        for name in layers:
            handle = network.get_submodule(name).register_forward_pre_hook(listen(name))
            stack.callback(handle.remove)
        for part in x.split(AT_A_TIME):
            network(part)
    return {name: torch.cat(parts) for name, parts in seen.items() if parts}


def averaged(read: Tensor) -> Tensor:
    """(n, channels), the mean over places."""
    return read.flatten(2).mean(dim=2) if read.ndim > 2 else read


def sampled(images: int, seed: int) -> Callable[[Tensor], Tensor]:
    """Some places of every image: (n × places, channels), about SAMPLES in all, the same in every layer of one size."""
    places = max(1, SAMPLES // images)

    def look(read: Tensor) -> Tensor:
        if read.ndim == 2:
            return read
        everywhere = read.flatten(2)
        generator = keyed_generator("cpu", "pruning", seed, everywhere.shape[2])
        chosen = torch.randperm(everywhere.shape[2], generator=generator)[:places]
        return everywhere[:, :, chosen].transpose(1, 2).flatten(0, 1)

    return look
