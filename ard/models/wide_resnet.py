"""Wide residual networks, the usual robust teachers."""

import torch.nn.functional as F
from torch import Tensor, nn

from ard.core.errors import UserError
from ard.core.ranges import at_least


class WideResNet(nn.Module):
    """Zagoruyko & Komodakis, BMVC 2016: WRN-depth-widen; pixels (batch, in_channels, H, W) -> logits (batch, C).

    Raises UserError unless depth = 6 n + 4 (three stages of n pre-activation blocks).

    Args:
        num_classes: How many logits it answers with.
        depth: Layers: 6 n + 4, such as 10, 16, 28, 34 or 70.
        widen: Multiplies the channels of ResNet's stages.
        in_channels: 3 for colours, 1 for grey images.
    """

    def __init__(self, *, num_classes: int, depth: int = 34, widen: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        at_least(1, widen=widen, in_channels=in_channels)
        if depth < 10 or (depth - 4) % 6:
            raise UserError(f"depth = {depth}: expected 6 n + 4, such as 10, 16, 28, 34 or 70")
        self.stem = nn.Conv2d(in_channels, 16, 3, 1, 1, bias=False)
        blocks, channels = [], 16
        for stage in range(3):
            for block in range((depth - 4) // 6):
                out_channels = 16 * widen * 2**stage
                blocks.append(PreActivationBlock(channels, out_channels, stride=2 if stage and not block else 1))
                channels = out_channels
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(channels)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.blocks(self.stem(x))))
        return self.head(x.mean(dim=(2, 3)))


class PreActivationBlock(nn.Module):
    """BN-ReLU-conv twice; where the width changes, the shortcut starts after the first activation."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.shortcut = None if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        activated = F.relu(self.norm1(x))
        shortcut = x if self.shortcut is None else self.shortcut(activated)
        return self.conv2(F.relu(self.norm2(self.conv1(activated)))) + shortcut
