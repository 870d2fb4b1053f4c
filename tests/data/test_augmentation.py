"""Crop and flip: what they may do to an image, and that they draw from their generator alone."""

from collections.abc import Callable

import pytest
import torch
from tiny import generator
from torch import Tensor

from ard.data import Digits, to_pixels
from ard.data.augmentation import random_crop, random_flip


def test_random_crop_cuts_each_image_at_a_place_of_its_own() -> None:
    x, padding = torch.rand(300, 2, 5, 4, generator=generator(1)), 2
    places = []
    for image, crop in zip(x, random_crop(x, padding, generator()), strict=True):
        padded = torch.zeros(2, 5 + 2 * padding, 4 + 2 * padding)
        padded[:, padding:-padding, padding:-padding] = image
        windows = {(i, j): padded[:, i : i + 5, j : j + 4] for i in range(5) for j in range(5)}
        places += [place for place, window in windows.items() if torch.equal(window, crop)]
    assert len(places) == 300
    assert len(set(places)) == 25


def test_random_flip_mirrors_about_half() -> None:
    x = torch.rand(200, 2, 5, 4, generator=generator(1))
    flipped = [torch.equal(out, image.flip(-1)) for image, out in zip(x, random_flip(x, generator()), strict=True)]
    kept = [torch.equal(out, image) for image, out in zip(x, random_flip(x, generator()), strict=True)]
    assert all(a != b for a, b in zip(flipped, kept, strict=True))
    assert 70 < sum(flipped) < 130


@pytest.mark.parametrize("draw", [lambda x, g: random_crop(x, 2, g), random_flip], ids=["crop", "flip"])
def test_augmentation_is_its_generators_alone(draw: Callable[[Tensor, torch.Generator], Tensor]) -> None:
    x = torch.rand(50, 1, 6, 6, generator=generator(1))
    assert torch.equal(draw(x, generator(3)), draw(x, generator(3)))
    assert not torch.equal(draw(x, generator(3)), draw(x, generator(4)))


def test_augment_obeys_its_switches() -> None:
    data = Digits()
    x = to_pixels(data.test_images().pixels)
    assert torch.equal(data.augment(x, generator()), x)
    data.flip = True
    assert torch.equal(data.augment(x, generator()), random_flip(x, generator()))
    data.flip, data.crop_padding = False, 1
    assert torch.equal(data.augment(x, generator()), random_crop(x, 1, generator()))
