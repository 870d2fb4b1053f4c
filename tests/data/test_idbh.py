"""IDBH: what it may do to an image, how often, and that it depends on seed, epoch and image alone."""

import math
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from image_files import image_folder
from tiny import user_error

from ard.data import CIFAR10, Digits, ImageFolder
from ard.data.idbh import Redrawn, colour_shape, crop_shift, idbh
from ard.data.loading import MemoryImages

MANY = 4000
IMAGE = torch.arange(1, 1 + 3 * 16 * 14).remainder(251).add(1).view(3, 16, 14).to(torch.uint8)  # no pixel is black


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        yield


def about(count, probability):
    """Within five standard deviations; of a fixed seed, so that it never flickers."""
    return abs(count - MANY * probability) < 5 * math.sqrt(MANY * probability * (1 - probability))


def test_crop_shift_puts_a_smaller_window_anywhere_on_black():
    lost, places = Counter(), set()
    for _ in range(MANY):
        shifted = crop_shift(IMAGE)
        there = (shifted > 0).all(dim=0)
        rows, columns = there.any(dim=1).nonzero().flatten(), there.any(dim=0).nonzero().flatten()
        height, width = len(rows), len(columns)
        window = shifted[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert int(there.sum()) == height * width
        assert window.shape == (3, height, width)
        assert any(
            torch.equal(window, IMAGE[:, i : i + height, j : j + width])
            for i in range(17 - height)
            for j in range(15 - width)
        )
        lost[16 - height + 14 - width] += 1
        places.add((int(rows[0]), int(columns[0])))
    assert set(lost) == set(range(11))
    assert all(about(count, 1 / 11) for count in lost.values())
    assert {(0, 0), (10, 0), (0, 10)} <= places


def test_one_of_eight_changes_is_as_likely_as_another_and_in_its_range():
    calls = []

    class Functional:
        def __getattr__(self, name):
            return lambda _, *values, **named: calls.append((name, *values, named))

    for _ in range(MANY):
        colour_shape(None, Functional())
    names = Counter(call[0] for call in calls)
    ranges = {"adjust_saturation": 0.1, "adjust_brightness": 0.5, "adjust_contrast": 0.5, "adjust_sharpness": 0.1}
    assert set(names) == {*ranges, "autocontrast", "equalize", "affine", "rotate"}
    assert all(about(count, 1 / 8) for count in names.values())
    for name, low in ranges.items():
        values = [call[1] for call in calls if call[0] == name]
        assert low <= min(values) < low + 0.05
        assert 1.85 < max(values) <= 1.9
    assert {call[-1]["angle"] for call in calls if call[0] == "rotate"} == {*range(-10, 0), *range(1, 11)}
    shears = [call[-1]["shear"] for call in calls if call[0] == "affine"]
    sizes = [math.radians(abs(x + y)) for x, y in shears]
    assert all(x * y == 0 for x, y in shears)
    assert 0.05 <= min(sizes) < max(sizes) <= 0.15
    assert len({(x > 0, x < 0, y > 0, y < 0) for x, y in shears}) == 4


def test_weak_erases_half_and_strong_all():
    """White images whose colours are left alone: black inside is what was erased, and what was shifted is at the edges."""
    white = torch.full((3, 32, 32), 255, dtype=torch.uint8)
    erased = {0.0: 0, 0.5: 0, 1.0: 0}
    for probability in erased:
        for seed in range(200):
            torch.manual_seed(seed)
            inner = idbh(white, flip=False, erasing=probability)[:, 14:18, 14:18]
            erased[probability] += bool((inner == 0).any())
    assert erased[0.0] == 0
    assert 0.35 < erased[0.5] / erased[1.0] < 0.65


def test_it_mirrors_only_where_that_is_allowed(monkeypatch):
    monkeypatch.setattr("ard.data.idbh.crop_shift", lambda image: image)
    monkeypatch.setattr("ard.data.idbh.colour_shape", lambda picture, _: picture)
    found = [idbh(IMAGE, flip=True, erasing=0.0) for _ in range(60)]
    mirrored = sum(torch.equal(image, IMAGE.flip(2)) for image in found)
    assert sum(torch.equal(image, IMAGE) for image in found) + mirrored == 60
    assert 15 < mirrored < 45
    assert all(torch.equal(idbh(IMAGE, flip=False, erasing=0.0), IMAGE) for _ in range(10))


def test_an_image_is_changed_by_its_seed_alone():
    images = MemoryImages(IMAGE.repeat(3, 1, 1, 1), torch.arange(3))
    redrawn = Redrawn(images, "idbh_strong", flip=True)
    before = torch.get_rng_state()
    x, y = redrawn.__getitems__([(0, 5), (1, 6), (2, 5)])
    assert torch.equal(torch.get_rng_state(), before)
    assert (x.dtype, y.tolist()) == (torch.uint8, [0, 1, 2])
    assert torch.equal(x[0], x[2])
    assert not torch.equal(x[0], x[1])
    assert torch.equal(redrawn.__getitems__([(1, 6)])[0][0], x[1])


def batches(folder, epoch=0, skip=0, **options):
    data = ImageFolder(root=str(folder), size=16, val_size=3, batch_size=6, **{"augmentation": "idbh_weak"} | options)
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    data.trainer = SimpleNamespace(current_epoch=epoch, world_size=1, global_rank=0, strategy=strategy)
    loader = data.train_dataloader()
    loader.load_state_dict({"epoch": epoch, "yielded": skip})
    return torch.cat([x for x, _ in loader])


def test_batches_are_the_same_with_any_number_of_workers_and_after_a_resume(tmp_path):
    folder = image_folder(tmp_path, side=16)
    alone = batches(folder, workers=0)
    assert torch.equal(batches(folder, workers=2), alone)
    assert torch.equal(batches(folder, workers=0, skip=2), alone[12:])
    assert not torch.equal(batches(folder, epoch=1, workers=0), alone)
    assert not torch.equal(batches(folder, seed=1, workers=0), alone)


def test_validation_images_stay(tmp_path):
    data = ImageFolder(root=str(image_folder(tmp_path, side=16)), size=16, val_size=3, augmentation="idbh_strong")
    (x, _), split = next(iter(data.val_dataloader())), data.splits[1]
    assert torch.equal(x, split.__getitems__([0, 1, 2])[0])


def test_the_batch_is_not_augmented_again():
    x = torch.rand(2, 3, 32, 32)
    data = CIFAR10(augmentation="idbh_weak")
    assert data.augment(x, torch.Generator()) is x
    assert data.switches == {"augmentation": "idbh_weak"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Digits(augmentation="idbh_weak"), "images are 1 × 8 × 8; expected RGB ones, 11 pixels or more"),
        (lambda: CIFAR10(augmentation="idbh"), "expected one of crop_flip, idbh_weak, idbh_strong"),
        (lambda: CIFAR10(augmentation="idbh_weak", rotation=15.0), "expected no padding_mode, no rotation"),
        (lambda: CIFAR10(augmentation="idbh_weak", padding_mode="reflect"), "expected no padding_mode, no rotation"),
        (lambda: CIFAR10(augmentation="idbh_strong").view_count, "augmentation shows images in ever new ways"),
    ],
)
def test_what_it_cannot_do_is_refused(make, message):
    with user_error(message):
        make()
