"""MobileNetV2 for small images, the usual small student."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ard.core.errors import UserError
from ard.core.ranges import above, at_least

CIFAR_STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class MobileNetV2(nn.Module):
    """Sandler et al., CVPR 2018, in the variant of the ARD and RSLAD papers; pixels (batch, in_channels, H, W) -> logits.

    ReLU instead of ReLU6, stride 1 in the stem and in the 24-channel stage. Raises UserError for numbers below 1, which
    would make another network.

    Args:
        num_classes: How many logits it answers with.
        width: Multiplies every number of channels.
        in_channels: 3 for colours, 1 for grey images.
        stem_stride: 2 halves the resolution at once.
        stages: Expansion, channels, blocks and stride of each, so that tiny images and tiny machines can have fewer.
        head: Channels before the last layer.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        width: float = 1.0,
        in_channels: int = 3,
        stem_stride: int = 1,
        stages: Sequence[Sequence[int]] = CIFAR_STAGES,
        head: int = 1280,
    ) -> None:
        super().__init__()
        at_least(1, head=head, in_channels=in_channels, stem_stride=stem_stride)
        _check(width, stages)
        channels = _scaled(32, width)
        blocks: list[nn.Module] = [_conv_norm(in_channels, channels, kernel=3, stride=stem_stride), nn.ReLU()]
        for expansion, base, depth, stride in stages:
            for block in range(depth):
                out_channels = _scaled(base, width)
                blocks.append(InvertedResidual(channels, out_channels, expansion, stride=1 if block else stride))
                channels = out_channels
        last = _scaled(head, max(width, 1.0))
        self.features = nn.Sequential(*blocks, _conv_norm(channels, last, kernel=1), nn.ReLU())
        self.head = nn.Linear(last, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean(dim=(2, 3)))


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; the shortcut of a stride-1 block is projected where the width changes."""

    def __init__(self, in_channels: int, out_channels: int, expansion: int, *, stride: int) -> None:
        super().__init__()
        hidden = expansion * in_channels
        self.expand = _conv_norm(in_channels, hidden, kernel=1)
        self.depthwise = _conv_norm(hidden, hidden, kernel=3, stride=stride, groups=hidden)
        self.project = _conv_norm(hidden, out_channels, kernel=1)
        self.residual = stride == 1
        self.shortcut = nn.Sequential()
        if self.residual and in_channels != out_channels:
            self.shortcut = _conv_norm(in_channels, out_channels, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        out = self.project(F.relu(self.depthwise(F.relu(self.expand(x)))))
        return out + self.shortcut(x) if self.residual else out


class StridedDepthwise(nn.Conv2d):
    """A strided depthwise convolution that stays in float32 under bfloat16 autocast on a CPU.

    oneDNN's bfloat16 gradient of it takes some 20 times as long as the float32 one, and so most of a training step.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.float())
        return super().forward(x)


def _conv_norm(in_channels: int, out_channels: int, *, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    kind = StridedDepthwise if groups > 1 and stride > 1 else nn.Conv2d
    conv = kind(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


def _check(width: float, stages: Sequence[Sequence[int]]) -> None:
    above(0, width=width)
    for stage in stages:
        if len(stage) != 4 or min(stage) < 1:
            raise UserError(f"stages with {list(stage)}: expected (expansion, channels, blocks, stride), each at least 1")


def _scaled(channels: int, width: float) -> int:
    return max(8, int(channels * width + 4) // 8 * 8)
