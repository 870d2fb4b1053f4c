"""CutMix: every image gets a box of another one, and the label of both, in the shares of their pixels."""

import torch
from torch import Tensor

from ard.data.augmentation import in_format_of
from ard.losses import shares_of


def cutmix(x: Tensor, y: Tensor, num_classes: int, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """CutMix (Yun et al., ICCV 2019) as Rebuffi et al. (NeurIPS 2021) use it: λ ~ U(0, 1), a box of √(1 − λ) of each side.

    The centre of a box is uniform, what lies outside of the image is cut off, and the label is (1 − a) y + a y', where a is
    the share of pixels that the box has in the end. The released code draws one box for a quarter of its batch; here each
    image has a box of its own, so that what an image becomes depends neither on the batch size nor on the number of
    processes. The images that boxes are taken from are a permutation of the batch, as there.

    Args:
        x: Images, shape (batch, channels, height, width), on any device.
        y: Classes, shape (batch,), −1 for none; or shares of classes, shape (batch, C).
        num_classes: Number of classes C.
        share: How many of the images are mixed, as a probability.
        generator: Of the draws; one of the CPU gives the same on every device, and nobody waits for it.

    Returns:
        Images as x, and shares of classes, shape (batch, C); the row of an image without a label sums to the share of the
        other one.
    """
    (n, _, height, width), device = x.shape, generator.device
    is_mixed = torch.rand(n, generator=generator, device=device) < share
    side = (1 - torch.rand(n, generator=generator, device=device)).sqrt() * is_mixed
    top, bottom = _edges(height, side, generator)
    left, right = _edges(width, side, generator)
    other = torch.randperm(n, generator=generator, device=device)
    top, bottom, left, right, other = torch.stack([top, bottom, left, right, other]).to(x.device, non_blocking=True)
    rows, columns = torch.arange(height, device=x.device), torch.arange(width, device=x.device)
    in_rows = (rows >= top[:, None]) & (rows < bottom[:, None])
    in_columns = (columns >= left[:, None]) & (columns < right[:, None])
    box = in_rows[:, None, :, None] & in_columns[:, None, None, :]
    area = ((bottom - top) * (right - left))[:, None]
    whole, shares = height * width, shares_of(y, num_classes)
    mixed = (whole - area) / whole * shares + area / whole * shares[other]
    return in_format_of(x, torch.where(box, x[other], x)), mixed


def _edges(size: int, side: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Where boxes of these shares of a side begin and end: whole pixels, half of an odd one rounded down, as released."""
    centre = torch.randint(size, side.shape, generator=generator, device=side.device)
    half = (side * size).long() // 2
    return (centre - half).clamp_min(0), (centre + half).clamp_max(size)
