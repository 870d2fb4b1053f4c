"""CIFAR-style ResNets: 3×3 stem, four stages, global average pooling."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ard.core.errors import UserError
from ard.core.ranges import at_least


class ResNet(nn.Module):
    """He et al., CVPR 2016, with a 3×3 stem for small images; pixels (batch, in_channels, H, W) -> logits (batch, C).

    `blocks=(2, 2, 2, 2), width=64` is ResNet-18. Raises UserError for numbers below 1, which would make another network.

    Args:
        num_classes: How many logits it answers with.
        blocks: How many blocks each stage has.
        width: Channels of the first stage; each later one has twice as many as the one before.
        in_channels: 3 for colours, 1 for grey images.
        stem_stride: 2 halves the resolution, and quarters the cost, at once.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        blocks: Sequence[int] = (2, 2, 2, 2),
        width: int = 64,
        in_channels: int = 3,
        stem_stride: int = 1,
    ) -> None:
        super().__init__()
        at_least(1, width=width, in_channels=in_channels, stem_stride=stem_stride)
        if not blocks or min(blocks) < 1:
            raise UserError(f"blocks = {list(blocks)}: expected how many there are in each stage, at least 1")
        self.stem = nn.Conv2d(in_channels, width, 3, stem_stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        stages, channels = [], width
        for stage, depth in enumerate(blocks):
            for block in range(depth):
                stages.append(BasicBlock(channels, width * 2**stage, stride=2 if stage and not block else 1))
                channels = width * 2**stage
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(F.relu(self.norm(self.stem(x))))
        return self.head(x.mean(dim=(2, 3)))


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut, projected where the shape changes."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(out)) + self.shortcut(x))
