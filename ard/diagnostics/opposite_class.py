"""Distances between images in the norm of a ball, and the nearest image of another class."""

import torch
from torch import Tensor

from ard.attacks import Ball, Linf

ROWS = 100  # images whose distances to all others are held at once
ROUNDED = 1e-6  # by which float32 may take images that lie exactly 2 eps apart, in levels of 8 bits, for further apart


def image_distances(a: Tensor, b: Tensor, ball: Ball) -> Tensor:
    """The distance (n, m) of images a (n, C, H, W) and b (m, C, H, W) in the ball's norm, 0 exactly where they are equal."""
    p = torch.inf if isinstance(ball, Linf) else 2.0
    return torch.cdist(a.flatten(1), b.flatten(1), p=p, compute_mode="donot_use_mm_for_euclid_dist")


def nearest_of_another_class(x: Tensor, y: Tensor, ball: Ball) -> Tensor:
    """The distance (n,) of each image x (n, C, H, W) to the nearest with another label than its own; inf where none has."""
    parts = []
    for images, labels in zip(x.split(ROWS), y.split(ROWS), strict=True):
        distances = image_distances(images, x, ball)
        parts.append(distances.masked_fill(labels[:, None] == y, torch.inf).amin(dim=1))
    return torch.cat(parts)


def balls_meet(distances: Tensor, ball: Ball) -> Tensor:
    """Whether balls around two images at these distances have a point in common: no network can be right on all of both."""
    return distances <= 2 * ball.eps + ROUNDED
