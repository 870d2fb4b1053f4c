"""Adversarial images that a file holds: levels of 8 bits, k/255 with k from 0 to 255."""

import torch
from torch import Tensor

from ard.attacks import Ball
from ard.core.errors import UserError

ROUNDING = 1e-3  # of a level: what float32 may be off


def of_eight_bits(x: Tensor) -> Tensor:
    """Which images (n, C, H, W) in [0, 1] lie on levels of 8 bits themselves."""
    return ((x * 255) - (x * 255).round()).abs().flatten(1).amax(dim=1) <= ROUNDING


def check_levels(x: Tensor) -> None:
    """Raises UserError for images in [0, 1] that are not of 8 bits themselves."""
    if not (there := of_eight_bits(x)).all():
        raise UserError(
            f"image {int((~there).nonzero()[0])} lies between levels of 8 bits; expected pixels k/255 for 8-bit attacks"
        )


def on_levels(x_adv: Tensor, x: Tensor, ball: Ball) -> Tensor:
    """x_adv (n, C, H, W) on levels of 8 bits, still in the ball around x, which lies on levels itself.

    Each pixel goes to its nearest level; where that would leave the ball, to the next one towards x: first the pixels that
    leave it by themselves, then whole images, as in L2 many pixels leave it together.
    """
    before = (x * 255).round()
    delta = x_adv * 255 - before
    nearest, towards = delta.round(), (delta + ROUNDING * delta.sign()).trunc()
    farthest = 255 * ball.eps + ROUNDING
    delta = torch.where(nearest.abs() <= farthest, nearest, towards)
    leaves = ball.distance(delta / 255) > ball.eps * (1 + 1e-6)
    delta = torch.where(leaves.view(-1, 1, 1, 1), towards, delta)
    return ((before + delta).clamp(0, 255) / 255).to(x_adv)
