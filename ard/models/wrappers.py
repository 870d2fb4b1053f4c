"""The interface of a network, and wrappers that give it to networks of other libraries."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ard.core.errors import UserError
from ard.core.ranges import at_least


class Network(Protocol):
    """A network that still wants its number of classes, called by keyword; pixels in [0, 1] in, logits out."""

    def __call__(self, *, num_classes: int) -> nn.Module: ...


class Normalized(nn.Module):
    """(x − mean) / std before `network`, so that attacks stay in pixel space; mean and std one number per channel.

    Args:
        network: The network behind it, {class_path, init_args}.
        mean: Of the pixels that the network was made for, one number a channel.
        std: Their standard deviation.
        num_classes: How many logits it answers with.
    """

    def __init__(self, *, network: Network, mean: Sequence[float], std: Sequence[float], num_classes: int) -> None:
        super().__init__()
        self.network = network(num_classes=num_classes)
        self.mean = nn.Buffer(torch.tensor(mean).view(1, -1, 1, 1))
        self.std = nn.Buffer(torch.tensor(std).view(1, -1, 1, 1))

    @classmethod
    def around(cls, network: nn.Module, *, mean: Sequence[float], std: Sequence[float]) -> "Normalized":
        """Before a network that is there already, trained on normalised images."""
        return cls(network=lambda *, num_classes: network, mean=mean, std=std, num_classes=0)  # noqa: ARG005

    def forward(self, x: Tensor) -> Tensor:
        return self.network((x - self.mean) / self.std)


class Torchvision(nn.Module):
    """A torchvision classifier by name, such as `resnet18`; raises UserError for a name torchvision does not list.

    Args:
        name: As in torchvision.models.list_models().
        num_classes: How many logits it answers with.
    """

    def __init__(self, *, name: str, num_classes: int) -> None:
        super().__init__()
        from torchvision import models

        _check_listed(name, models.list_models(module=models), "torchvision")
        self.network = models.get_model(name, weights=None, num_classes=num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


class Timm(nn.Module):
    """A timm classifier by name, such as `resnet18`.

    Raises UserError where timm is not installed or does not list the name.

    Args:
        name: As in timm.list_models().
        num_classes: How many logits it answers with.
        in_channels: 3 for colours, 1 for grey images.
        pretrained: Whether to start from timm's own weights, which are downloaded.
    """

    def __init__(self, *, name: str, num_classes: int, in_channels: int = 3, pretrained: bool = False) -> None:
        super().__init__()
        at_least(1, in_channels=in_channels)
        try:
            import timm
        except ImportError as error:
            raise UserError("ard.models.Timm needs timm: install ard-robust-distillation[timm]") from error
        _check_listed(name, timm.list_models(), "timm")
        self.network: Any = timm.create_model(name, pretrained=pretrained, num_classes=num_classes, in_chans=in_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


def _check_listed(name: str, names: Sequence[str], library: str) -> None:
    if name not in names:
        from difflib import get_close_matches

        near = get_close_matches(name, names, n=1)
        raise UserError(f"{library} lists no model {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
