"""What a way to prune is given: a network, how much of it stays, and images and a teacher where it asks for them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from ard.core.errors import UserError
from ard.pruning.channels import Channels, channels_of

Left = Mapping[str, tuple[int, int]]  # by layer: how many channels stay, of how many


@dataclass(kw_only=True)
class Prunable:
    """A network in eval mode on the CPU, and the share `keep` of its weights that stays, above 0 and at most 1.

    Attributes:
        network: The network that is pruned, in place.
        keep: Of the weights of convolutions and linear layers; biases and BatchNorm do not count.
        images: Called for images of training (n, C, H, W) in [0, 1] by a way that looks at activations.
        teacher: A network in eval mode for the same images, where one was given.
        seed: Of everything that is drawn.
    """

    network: nn.Module
    keep: float
    images: Callable[[], Tensor]
    teacher: nn.Module | None = None
    seed: int = 0

    @cached_property
    def weights(self) -> dict[str, nn.Parameter]:
        """The weights that count, by name."""
        return prunable_weights(self.network)

    @property
    def budget(self) -> int:
        """How many of these weights stay."""
        return round(self.keep * sum(weight.numel() for weight in self.weights.values()))

    @cached_property
    def channels(self) -> tuple[Channels, ...]:
        """The channels that may go, by the layer that reads them, in the order of the layers."""
        return channels_of(self.network, self.images()[:2])

    def keep_highest(self, score: Callable[[Tensor], Tensor]) -> None:
        """Only as many weights as the budget stay: those of the highest score, of equal ones the first.

        `score` maps a weight to numbers of its shape; a weight that is zero already goes before all others.
        """
        weights = list(self.weights.values())
        scores = [torch.where(w.detach() == 0, -torch.inf, score(w.detach())).flatten() for w in weights]
        order = torch.cat(scores).sort(descending=True, stable=True).indices
        stays = torch.zeros(len(order), dtype=torch.bool)
        stays[order[: self.budget]] = True
        with torch.no_grad():
            for weight, part in zip(weights, stays.split([w.numel() for w in weights]), strict=True):
                weight.masked_fill_(~part.view(weight.shape), 0)


def prunable_weights(network: nn.Module) -> dict[str, nn.Parameter]:
    """The weights of convolutions and linear layers by their names, each once; raises UserError where there is none."""
    layers = {f"{name}.weight".lstrip("."): part for name, part in network.named_modules() if is_layer(part)}
    named = dict(network.named_parameters())
    found = {name: named[name] for name in layers if name in named}
    if not found:
        raise UserError(f"{type(network).__name__} has no convolution or linear layer: nothing to prune")
    return found


def is_layer(part: nn.Module) -> bool:
    """Whether it is a convolution or a linear layer."""
    return isinstance(part, _ConvNd | nn.Linear)
