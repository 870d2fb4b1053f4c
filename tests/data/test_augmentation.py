"""Crop and flip: what they may do to an image, and that they draw from their generator alone."""

from collections.abc import Callable

import pytest
import torch
from graph_double import nobody_waits
from tiny import generator
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from ard.data import Digits, to_pixels
from ard.data.augmentation import crop_offsets, random_crop, random_flip, random_rotation


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


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_the_memory_format_stays(layout: torch.memory_format) -> None:
    """A network that came as it is may call `view`; for ours another format is a copy in every pass."""
    x = torch.rand(5, 3, 6, 4, generator=generator(1)).contiguous(memory_format=layout)
    for y in (random_crop(x, 2, generator()), random_flip(x, generator())):
        assert y.is_contiguous(memory_format=layout)


def test_views_that_the_host_knows_are_not_asked_of_a_gpu() -> None:
    """They are drawn on the CPU, and copied to the images."""
    data = Digits()
    data.crop_padding, data.flip = 2, True
    with FakeTensorMode(), nobody_waits():
        assert data.augment(torch.rand(5, 1, 8, 8, device="cuda"), generator()).device.type == "cuda"
    with nobody_waits():
        assert data.views(5, generator()).device.type == "cpu"


def test_augment_obeys_its_switches() -> None:
    data = Digits()
    x = to_pixels(data.test_images().pixels)
    assert torch.equal(data.augment(x, generator()), x)
    data.flip = True
    assert torch.equal(data.augment(x, generator()), random_flip(x, generator()))
    data.flip, data.crop_padding = False, 1
    assert torch.equal(data.augment(x, generator()), random_crop(x, 1, generator()))


def test_a_reflected_crop_is_a_window_of_the_mirrored_surroundings() -> None:
    x = torch.rand(100, 2, 5, 4, generator=generator(1))
    rows, columns = [abs(i) if i < 5 else 8 - i for i in range(-2, 7)], [abs(j) if j < 4 else 6 - j for j in range(-2, 6)]
    padded = x[:, :, rows][:, :, :, columns]
    offsets = crop_offsets(100, 2, generator())
    for image, crop, row, column in zip(padded, random_crop(x, 2, generator(), "reflect"), *offsets, strict=True):
        assert torch.equal(crop, image[:, row : row + 5, column : column + 4])


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 9, 5)])
def test_a_rotation_is_torchvisions(shape: tuple[int, int, int]) -> None:
    from torchvision.transforms.functional import rotate

    x = torch.rand(40, *shape, generator=generator(1))
    angles = 15 * (2 * torch.rand(40, generator=generator()) - 1)
    expected = torch.stack([rotate(image, float(angle)) for image, angle in zip(x, angles, strict=True)])
    found = random_rotation(x, 15, generator())
    assert float((found == expected).float().mean()) > 0.995  # a pixel just between two may be either
    assert torch.equal(random_rotation(x, 0, generator()), x)
    assert not torch.equal(found, x)
