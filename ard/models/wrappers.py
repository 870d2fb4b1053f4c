"""The interface of a network, and wrappers that give it to networks of other libraries."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ard.core.errors import UserError
from ard.core.ranges import at_least
from ard.core.suggestions import did_you_mean
from ard.core.text import first_line


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
        if len(mean) != len(std) or not mean or not all(value > 0 for value in std):
            raise UserError(f"mean {list(mean)}, std {list(std)}: expected one number a channel each, std above 0")
        self.network = network(num_classes=num_classes)
        self.mean = nn.Buffer(torch.tensor(mean).view(1, -1, 1, 1))
        self.std = nn.Buffer(torch.tensor(std).view(1, -1, 1, 1))

    @classmethod
    def around(cls, network: nn.Module, *, mean: Sequence[float], std: Sequence[float]) -> "Normalized":
        """Before a network that is there already, trained on normalised images."""
        return cls(network=lambda *, num_classes: network, mean=mean, std=std, num_classes=0)  # noqa: ARG005

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != len(self.std[0]):
            raise UserError(f"images of {x.shape[1]} channels, a mean for {len(self.std[0])}: expected as many")
        return self.network((x - self.mean) / self.std)


class Torchvision(nn.Module):
    """A torchvision classifier by name, such as `resnet18`.

    Its images want torchvision's mean and standard deviation: see Normalized. Raises UserError for a name torchvision does
    not list, and for weights that cannot be downloaded.

    Args:
        name: As in torchvision.models.list_models().
        num_classes: How many logits it answers with.
        pretrained: Whether to start from torchvision's own weights of ImageNet, which are downloaded; the last layer is new
            unless there are 1,000 classes.
    """

    def __init__(self, *, name: str, num_classes: int, pretrained: bool = False) -> None:
        super().__init__()
        from torchvision import models

        _check_listed(name, models.list_models(module=models), "torchvision")
        self.network = models.get_model(name, weights=None, num_classes=num_classes)
        if pretrained:
            _fill_but_the_head(self.network, _downloaded(name), name)

    def forward(self, x: Tensor) -> Tensor:
        answer = self.network(x)
        return answer if isinstance(answer, Tensor) else answer.logits  # GoogLeNet and Inception have more in train mode


def _downloaded(name: str) -> dict[str, Tensor]:
    """Torchvision's weights of a network, checked by the hash in their name; from its cache if they are there."""
    from torchvision import models

    try:
        return models.get_model_weights(name).DEFAULT.get_state_dict(progress=False, check_hash=True)
    except Exception as error:  # a network that is not there, a server that refuses, a file that is not what it should be
        raise UserError(
            f"torchvision's weights of {name} cannot be had ({first_line(error)}); expected them in "
            f"{torch.hub.get_dir()}/checkpoints or a connection, or pretrained: false"
        ) from error


def _fill_but_the_head(network: nn.Module, state: dict[str, Tensor], name: str) -> None:
    """Everything but what the number of classes decides the shape of."""
    expected = network.state_dict()
    fitting = {key: value for key, value in state.items() if key in expected and value.shape == expected[key].shape}
    if len(fitting) < len(expected) / 2:
        raise UserError(f"torchvision's weights of {name} are of another network: {len(fitting)} of {len(expected)} fit")
    network.load_state_dict(fitting, strict=False)


class Timm(nn.Module):
    """A timm classifier by name, such as `resnet18`.

    Raises UserError where timm is not installed or does not list the name.

    Args:
        name: As in timm.list_models(), with or without a tag of its weights, such as `resnet18.a1_in1k`.
        num_classes: How many logits it answers with.
        in_channels: 3 for colours, 1 for grey images.
        pretrained: Whether to start from timm's own weights, which are downloaded.
        img_size: The side of the images, of a network that is made for one size, as vit_* are; by default timm's.
    """

    def __init__(
        self, *, name: str, num_classes: int, in_channels: int = 3, pretrained: bool = False, img_size: int | None = None
    ) -> None:
        super().__init__()
        at_least(1, in_channels=in_channels)
        try:
            import timm
        except ImportError as error:
            raise UserError("ard.models.Timm needs timm: install ard-robust-distillation[timm]") from error
        _check_listed(name.partition(".")[0], timm.list_models(), "timm")
        size: dict[str, Any] = {} if img_size is None else {"img_size": img_size}
        options = {"num_classes": num_classes, "in_chans": in_channels, **size}
        self.network: Any = timm.create_model(name, pretrained=pretrained, **options)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


def _check_listed(name: str, names: Sequence[str], library: str) -> None:
    if name not in names:
        raise UserError(f"{library} lists no model {name!r}{did_you_mean(name, names)}")
