"""Honest networks of many kinds, each trained adversarially for seconds: a check that one of them trips is a false alarm."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn
from zoo import BALL, small, train

from ard.attacks import PGD
from ard.models import MobileNetV2, ResNet


class ViT(nn.Module):
    """Sixteen patches of 2 by 2 pixels, two blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.place = nn.Conv2d(1, 32, 2, stride=2), nn.Parameter(0.02 * torch.randn(16, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, activation="gelu", batch_first=True, norm_first=True)
        self.blocks, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.place
        return self.head(self.blocks(tokens).mean(dim=1))


class InBfloat16(nn.Module):
    """Trained under bf16 autocast, evaluated in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.network = small()

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.training):
            return self.network(x).float()


def convolutions(norm: Callable[[int], nn.Module], activation: Callable[[], nn.Module], *more: nn.Module) -> nn.Module:
    """Two convolutions."""
    first, second = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1, stride=2)
    body = (first, norm(16), activation(), second, norm(32), activation())
    return nn.Sequential(*body, *more, nn.Flatten(), nn.LazyLinear(10))


def no_norm(_: int) -> nn.Module:
    return nn.Identity()


def groups(width: int) -> nn.Module:
    return nn.GroupNorm(4, width)


KINDS: dict[str, Callable[[], nn.Module]] = {
    "GroupNorm": lambda: convolutions(groups, nn.ReLU),
    "GELU": lambda: convolutions(nn.BatchNorm2d, nn.GELU),
    "tanh": lambda: convolutions(nn.BatchNorm2d, nn.Tanh),
    "max-pool": lambda: nn.Sequential(nn.MaxPool2d(2, stride=1), convolutions(groups, nn.ReLU, nn.MaxPool2d(2))),
    "ViT": ViT,
    "BatchNorm-free": lambda: convolutions(no_norm, nn.ReLU),
    "trained in bf16": InBfloat16,
    "MobileNetV2": lambda: MobileNetV2(num_classes=10, in_channels=1, stages=[[2, 8, 1, 1], [2, 16, 1, 2]], head=32),
    "ResNet": lambda: ResNet(num_classes=10, in_channels=1, width=8, blocks=[1, 1]),
    "MLP": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.LayerNorm(128), nn.SiLU(), nn.Linear(128, 10)),
    "softplus, average pooling": lambda: convolutions(nn.InstanceNorm2d, nn.Softplus, nn.AvgPool2d(2)),
    "sigmoid": lambda: convolutions(nn.BatchNorm2d, nn.Sigmoid),
}


def network(kind: str) -> nn.Module:
    """A trained one, fresh."""
    net = built(kind)
    net.load_state_dict(_state(kind))
    return net.eval()


def built(kind: str) -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        net = KINDS[kind]()
        net(torch.zeros(2, 1, 8, 8))  # lazy layers
        return net


@cache
def _state(kind: str) -> dict[str, Tensor]:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return train(built(kind), PGD(BALL, steps=4, relative_step=0.4), steps=120, batch=64).state_dict()
