"""Random crop, flip and rotation of a whole batch on its device, one draw per image; a generator may be of the CPU."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Augmentation = Literal["crop_flip", "idbh_weak", "idbh_strong"]
PaddingMode = Literal["zeros", "reflect"]


def random_crop(x: Tensor, padding: int, generator: torch.Generator, mode: PaddingMode = "zeros") -> Tensor:
    """Pad by `padding` and cut a window of the old size at a place of each image's own; x (batch, C, H, W).

    Padded with zeros, or with what is on the other side of the edge, mirrored. The memory format stays.
    """
    n, _, height, width = x.shape
    offsets = crop_offsets(n, padding, generator).to(x.device, non_blocking=True)
    rows = offsets[0].view(n, 1, 1) + torch.arange(height, device=x.device).view(1, height, 1)
    columns = offsets[1].view(n, 1, 1) + torch.arange(width, device=x.device).view(1, 1, width)
    images = torch.arange(n, device=x.device).view(n, 1, 1)
    padded = F.pad(x, [padding] * 4, mode="reflect" if mode == "reflect" else "constant")
    return in_format_of(x, padded.permute(0, 2, 3, 1)[images, rows, columns].permute(0, 3, 1, 2))


def random_flip(x: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability 1/2."""
    mirrored = flips(len(x), generator).to(x.device, non_blocking=True)
    return torch.where(mirrored.view(-1, 1, 1, 1), x.flip(3), x)


def random_rotation(x: Tensor, degrees: float, generator: torch.Generator) -> Tensor:
    """Turn each image about its centre by an angle that is uniform in ±`degrees`; x (batch, C, H, W).

    A pixel is the nearest one of the image, or 0 outside of it, as torchvision's RandomRotation makes it.
    """
    n, _, height, width = x.shape
    angles = torch.deg2rad(degrees * (2 * torch.rand(n, generator=generator, device=generator.device) - 1))
    cos, sin = angles.cos(), angles.sin()
    rows = [cos, -sin * height / width, 0 * cos], [sin * width / height, cos, 0 * cos]  # in halves of the sides
    turns = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1).to(x.device, non_blocking=True)
    grid = F.affine_grid(turns, list(x.shape), align_corners=False).to(x.dtype)
    return in_format_of(x, F.grid_sample(x, grid, mode="nearest", padding_mode="zeros", align_corners=False))


def in_format_of(x: Tensor, changed: Tensor) -> Tensor:
    """What was made of images in their memory format: a network of a user's own may call `view`."""
    is_last = x.is_contiguous(memory_format=torch.channels_last)
    return changed.contiguous(memory_format=torch.channels_last if is_last else torch.contiguous_format)


def crop_offsets(count: int, padding: int, generator: torch.Generator) -> Tensor:
    """Where the windows of `count` images begin: rows and columns, 0 to 2 · padding, shape (2, count)."""
    return torch.randint(2 * padding + 1, (2, count), generator=generator, device=generator.device)


def flips(count: int, generator: torch.Generator) -> Tensor:
    """Which of `count` images are mirrored, bool (count,)."""
    return torch.rand(count, generator=generator, device=generator.device) < 0.5
