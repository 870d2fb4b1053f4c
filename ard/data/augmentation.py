"""Random crop and flip of a whole batch on its device, one draw per image; a generator may be of the CPU."""

import torch
import torch.nn.functional as F
from torch import Tensor


def random_crop(x: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Zero-pad by `padding` and cut a window of the old size at a place of each image's own; x (batch, C, H, W).

    The memory format stays.
    """
    n, _, height, width = x.shape
    offsets = crop_offsets(n, padding, generator).to(x.device, non_blocking=True)
    rows = offsets[0].view(n, 1, 1) + torch.arange(height, device=x.device).view(1, height, 1)
    columns = offsets[1].view(n, 1, 1) + torch.arange(width, device=x.device).view(1, 1, width)
    images = torch.arange(n, device=x.device).view(n, 1, 1)
    windows = F.pad(x, [padding] * 4).permute(0, 2, 3, 1)[images, rows, columns].permute(0, 3, 1, 2)  # channels last
    return windows if x.is_contiguous(memory_format=torch.channels_last) else windows.contiguous()


def random_flip(x: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability 1/2."""
    mirrored = flips(len(x), generator).to(x.device, non_blocking=True)
    return torch.where(mirrored.view(-1, 1, 1, 1), x.flip(3), x)


def crop_offsets(count: int, padding: int, generator: torch.Generator) -> Tensor:
    """Where the windows of `count` images begin: rows and columns, 0 to 2 · padding, shape (2, count)."""
    return torch.randint(2 * padding + 1, (2, count), generator=generator, device=generator.device)


def flips(count: int, generator: torch.Generator) -> Tensor:
    """Which of `count` images are mirrored, bool (count,)."""
    return torch.rand(count, generator=generator, device=generator.device) < 0.5
