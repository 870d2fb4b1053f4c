"""Random crop and flip of a whole batch on its device, one draw per image."""

import torch
import torch.nn.functional as F
from torch import Tensor


def random_crop(x: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Zero-pad by `padding` and cut a window of the old size at a place of each image's own; x (batch, C, H, W)."""
    n, _, height, width = x.shape
    offsets = torch.randint(2 * padding + 1, (2, n), generator=generator, device=x.device)
    rows = offsets[0].view(n, 1, 1, 1) + torch.arange(height, device=x.device).view(1, 1, height, 1)
    columns = offsets[1].view(n, 1, 1, 1) + torch.arange(width, device=x.device).view(1, 1, 1, width)
    images = torch.arange(n, device=x.device).view(n, 1, 1, 1)
    channels = torch.arange(x.shape[1], device=x.device).view(1, -1, 1, 1)
    return F.pad(x, [padding] * 4)[images, channels, rows, columns]


def random_flip(x: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability 1/2."""
    flip = torch.rand(len(x), generator=generator, device=x.device) < 0.5
    return torch.where(flip.view(-1, 1, 1, 1), x.flip(3), x)
