"""What images and labels must be, wherever they come from: pixels in [0, 1], channels first, classes from 0."""

import hashlib
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ard.core.errors import UserError

ROUNDING = 1e-2  # of a sum of shares, in half precision, too
Labels = Literal["none", "soft", "class"]  # what a method takes of them: see Objective.labels


def check_pixels(x: Tensor, shape: Sequence[int] | None = None, places: Sequence[int] | Tensor | None = None) -> None:
    """Raises UserError unless x (n, C, H, W) is uint8, or floats in [0, 1]; names the first wrong image by its place.

    `shape` is what an image should be; `places` are the images' indices in their data set, by default 0 … n − 1.
    """
    if x.ndim != 4 or (shape is not None and tuple(x.shape[1:]) != tuple(shape)):
        expected = "(channels, height, width)" if shape is None else tuple(shape)
        raise UserError(f"images of {tuple(x.shape[1:])}; expected {expected}, channels first")
    if x.dtype == torch.uint8 or not len(x):
        return
    if not x.is_floating_point():
        raise UserError(f"images of {x.dtype}; expected uint8, or floats in [0, 1]")
    low, high = x.flatten(1).amin(dim=1), x.flatten(1).amax(dim=1)  # NaN wherever there is one
    wrong = ~((low >= 0) & (high <= 1))
    if wrong.any():
        first = int(wrong.nonzero()[0])
        place = first if places is None else int(places[first])
        raise UserError(
            f"image {place} ({int(wrong.sum())} of {len(x)} are wrong): pixels in [{float(low[first]):g}, "
            f"{float(high[first]):g}]; expected [0, 1]: normalise inside the model (ard.models.Normalized)"
        )


def levels_of(x: Tensor) -> Tensor:
    """Pixels in [0, 1] as the nearest of 256 levels, uint8."""
    return (x * 255).round().to(torch.uint8)


def digest_of_images(levels: Tensor, y: Tensor) -> str:
    """What records name images by: uint8 levels (n, C, H, W) and their labels y (n,), both on the CPU."""
    return hashlib.sha256(levels.numpy().tobytes() + y.numpy().tobytes()).hexdigest()[:16]


def check_labels(y: Tensor, num_classes: int, *, unlabelled: bool = False) -> None:
    """Raises UserError unless y (n,) are whole numbers from 0 to num_classes − 1 (or −1, `unlabelled`); names the first."""
    if y.ndim != 1 or y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise UserError(f"labels of {y.dtype} and shape {tuple(y.shape)}; expected whole numbers, one an image")
    lowest = -1 if unlabelled else 0
    wrong = (y < lowest) | (y >= num_classes)
    if wrong.any():
        first = int(wrong.nonzero()[0])
        raise UserError(
            f"image {first} has the label {int(y[first])} ({int(wrong.sum())} of {len(y)} are wrong); "
            f"expected 0 to {num_classes - 1}" + (", or -1 for none" if unlabelled else "")
        )


def check_batch(x: Tensor, y: Tensor, *, num_classes: int, labels: Labels) -> None:
    """Raises UserError for images or labels that a method cannot train on.

    Args:
        x: Images, refused where a pixel is outside [0, 1].
        y: Classes, shape (batch,), refused where there is no such class; −1 is an image without a label. Or shares of
            classes, shape (batch, C), each row at least 0 and of a sum of at most 1.
        num_classes: Number of classes C.
        labels: What the method takes: all but "none" refuse −1, and "class" refuses shares.
    """
    check_pixels(x)
    if y.ndim != 2:
        check_known(y, num_classes, labels)
    elif y.shape[1] != num_classes:
        raise UserError(
            f"labels of shape {tuple(y.shape)}: expected classes of shape ({len(y)},), as y.squeeze(1) makes, or "
            f"shares of {num_classes} classes, shape ({len(y)}, {num_classes})"
        )
    elif not ((y >= 0).all() and (y.sum(dim=1) <= 1 + ROUNDING).all()):
        raise UserError(f"labels as shares of {num_classes} classes: expected numbers from 0 on, with a sum of at most 1")
    elif labels == "class":
        raise UserError("images with shares of several classes: expected a method that does not ask for one class")


def check_known(y: Tensor, num_classes: int, labels: Labels) -> None:
    """Raises UserError for labels (n,) of no class, and for images without one where a method takes others than "none"."""
    check_labels(y, num_classes, unlabelled=True)
    if labels != "none" and len(y) and int(y.min()) == -1:
        raise UserError("images without labels: expected a method that needs none, such as RSLAD or AdaAD")
