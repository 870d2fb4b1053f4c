"""Corruptions against arithmetic in numpy and against PIL."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import generator

from ard.evaluation.corruptions import corruptions

EVERY = {corruption.name: corruption for corruption in corruptions()}


def photo(channels=3, count=4):
    """Smooth images with some noise, grey to begin with, so that no clamp hides what a corruption does."""
    grid = np.linspace(0.3, 0.6, 16)
    smooth = grid[None, None, :, None] + 0.2 * np.sin(6 * grid)[None, None, None, :]
    noise = np.random.default_rng(0).normal(0, 0.02, (count, channels, 16, 16))
    return torch.from_numpy((smooth + noise).clip(0, 1)).float()


def corrupted(name, x, seed=0):
    return EVERY[name](None, x, None, generator(seed)).double().numpy()


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(
    "x", [photo(), photo(1), photo(4), (photo() > 0.45).float()], ids=["RGB", "grey", "four", "extreme"]
)
def test_what_every_corruption_promises(name, x):
    before = x.clone()
    found = EVERY[name](None, x, None, generator())
    assert found.shape == x.shape
    assert found.dtype == x.dtype
    assert 0 <= found.min() <= found.max() <= 1
    assert torch.equal(found, EVERY[name](None, x, None, generator()))
    assert torch.equal(x, before)
    assert not torch.equal(found, x)
    assert EVERY[name].probe
    assert EVERY[name].settings["strength"] > 0


@pytest.mark.parametrize("name", [name for name in EVERY if name != "gaussian noise"])
def test_each_image_is_corrupted_on_its_own_and_always_alike(name):
    x = photo()
    alone = np.concatenate([corrupted(name, image[None], seed) for seed, image in enumerate(x)])
    np.testing.assert_allclose(corrupted(name, x), alone, atol=1e-6)


def test_brightness_adds_and_clamps():
    x = torch.rand(2, 3, 8, 8, generator=generator())
    np.testing.assert_allclose(corrupted("brightness", x), np.minimum(x.double().numpy() + 0.15, 1), atol=1e-6)


def test_contrast_pulls_every_channel_towards_its_mean():
    x = torch.rand(2, 3, 8, 8, generator=generator())
    found, pixels = corrupted("contrast", x), x.double().numpy()
    for i, c in np.ndindex(2, 3):
        mean = pixels[i, c].sum() / 64
        np.testing.assert_allclose(found[i, c], 0.4 * pixels[i, c] + 0.6 * mean, atol=1e-6)
    flat = torch.full((1, 3, 8, 8), 0.7)
    np.testing.assert_allclose(corrupted("contrast", flat), flat, atol=1e-6)


def test_noise_has_its_strength_and_no_direction():
    x = torch.full((20, 1, 16, 16), 0.5)
    found = corrupted("gaussian noise", x) - 0.5
    assert found.std() == pytest.approx(0.08, rel=0.05)
    assert abs(found.mean()) < 4 * 0.08 / np.sqrt(found.size)
    assert (found != corrupted("gaussian noise", x, seed=1) - 0.5).any()


def test_blur_is_a_weighted_mean_of_nine_pixels():
    x = photo()
    side = np.exp(-0.5 / 0.7**2)
    weights = np.array([side, 1, side]) / (1 + 2 * side)
    padded = np.pad(x.double().numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)), mode="reflect")
    expected = np.zeros(x.shape)
    for i, j in np.ndindex(3, 3):
        expected += weights[i] * weights[j] * padded[:, :, i : i + 16, j : j + 16]
    np.testing.assert_allclose(corrupted("gaussian blur", x), expected, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_a_round_trip_through_a_file(channels):
    """Two decoders may round differently: by a grey level or two of 255."""
    x = photo(channels)
    expected = []
    for image in x.numpy():
        levels = np.rint(image * 255).astype(np.uint8).transpose(1, 2, 0)
        file = io.BytesIO()
        Image.fromarray(levels.squeeze()).save(file, "JPEG", quality=58)
        back = np.asarray(Image.open(file)).reshape(16, 16, channels)
        expected.append(back.transpose(2, 0, 1) / 255)
    assert np.abs(np.array(expected) - x.numpy()).max() > 5 / 255
    np.testing.assert_allclose(corrupted("JPEG", x), expected, atol=2.5 / 255)
