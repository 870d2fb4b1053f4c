"""What the doctor says of images: nothing of healthy ones, and what is wrong with others."""

import re
import shutil
from types import SimpleNamespace

import pytest
import torch
from image_files import image_folder
from scipy.spatial.distance import cdist
from tiny import user_error

from ard.attacks import Linf
from ard.data import Digits, ImageFolder, to_pixels
from ard.data.loading import MemoryImages
from ard.doctor import data_checks
from ard.doctor.duplicates import duplicates, shared
from ard.doctor.planned_run import opened


def run_of(data):
    engine = SimpleNamespace(objective=SimpleNamespace(labels="class"), threat=Linf(0.15))
    return SimpleNamespace(data=data, splits=opened(data), engine=engine)


def said(check, data):
    return list(check(run_of(data)))


class Changed(Digits):
    """Digits whose training images (pixels, labels), validation batches or test images are not what they should be."""

    change = staticmethod(lambda pixels, labels: (pixels, labels))

    def training_images(self):
        held = super().training_images()
        return MemoryImages(*self.change(held.pixels.clone(), held.labels.clone()))


def changed(change):
    return type("Changed", (Changed,), {"change": staticmethod(change)})()


CHECKS = [
    data_checks.sizes,
    data_checks.labels,
    data_checks.pixels,
    data_checks.steady,
    data_checks.twice,
    data_checks.other_classes,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_nothing_is_wrong_with_digits(check):
    assert {finding.verdict for finding in said(check, Digits())} == {"ok"}


def test_sizes():
    (finding,) = said(data_checks.sizes, Digits())
    assert finding.message == "Digits: 1,197 train, 200 val, 400 test; 10 classes (0, 1, 2, 3, 4, …)"


def test_a_test_split_that_cannot_be_opened_is_no_error():
    class Without(Digits):
        def test_images(self):
            raise FileNotFoundError("test/")

    assert [finding.verdict for finding in said(data_checks.sizes, Without())] == ["warning", "ok"]
    assert "none in two of train, val" in said(data_checks.twice, Without())[0].message


@pytest.mark.parametrize(
    ("change", "verdict", "told"),
    [
        (lambda x, y: (x, y + 1), "error", r"in \[1, 10\] of test; expected 0 to 9"),
        (lambda x, y: (x[y != 3], y[y != 3]), "warning", "test has no image of 3"),
    ],
)
def test_labels_of_the_test_split(change, verdict, told):
    class Odd(Digits):
        def test_images(self):
            held = super().test_images()
            return MemoryImages(*change(held.pixels, held.labels))

    (finding,) = said(data_checks.labels, Odd())
    assert finding.verdict == verdict
    assert re.search(told, finding.message)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda x, y: (x, y + 1), "has the label 10 .* expected 0 to 9"),
        (lambda x, y: (x[y != 3], y[y != 3]), "class 3 has 0 training images"),
    ],
)
def test_labels_of_the_training_images(change, told):
    with user_error(told):
        said(data_checks.labels, changed(change))


@pytest.mark.fault(23)
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda x, y: (x.float(), y), r"pixels in \[0, 255\]"),
        (lambda x, y: ((x.float() / 255 - 0.5) / 0.5, y), r"pixels in \[-1, 1\]"),
    ],
)
def test_pixels_out_of_range(change, told, observed):
    with user_error(told) as caught:
        said(data_checks.pixels, changed(change))
    observed(f"the doctor: {caught.value}")


def test_pixels_that_were_divided_twice():
    (finding,) = said(data_checks.pixels, changed(lambda x, y: (x.float() / 255**2, y)))
    assert (finding.verdict, "divided by 255 twice?" in finding.message) == ("error", True)


@pytest.mark.fault(30)
def test_validation_images_are_not_augmented(observed):
    data = Digits(crop_padding=2, batch_size=50)
    for _ in range(2):
        seen = torch.cat([data.on_after_batch_transfer(batch, 0)[0] for batch in data.val_dataloader()])
        assert torch.equal(seen, to_pixels(data.splits[1].__getitems__(list(range(200)))[0]))
    observed("with crops in training, every validation image is bit for bit the one in the split")


@pytest.mark.fault(30)
def test_augmented_validation_images_are_noticed(observed):
    class Restless(Digits):
        def on_after_batch_transfer(self, batch, dataloader_idx):
            x, y = super().on_after_batch_transfer(batch, dataloader_idx)
            return x.flip(3) if torch.rand(()) < 0.5 else x, y

    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        (finding,) = said(data_checks.steady, Restless(batch_size=20))
    assert finding.verdict == "error"
    observed(f"a data module that flips them: the doctor: {finding.message}")


class Leaky(Digits):
    """Three test images are training data_checks, one of them another encoding of it."""

    moved = 0

    def test_images(self):
        held, train = super().test_images(), self.splits[0].__getitems__([5, 6, 7])[0]
        pixels = held.pixels.clone()
        pixels[:3] = train
        pixels[2] = (pixels[2].int() + self.moved).clamp(0, 255).to(torch.uint8)
        return MemoryImages(pixels, held.labels)


@pytest.mark.fault(29)
@pytest.mark.parametrize(
    ("moved", "told"),
    [
        (0, "3 of 400 test images are in train"),
        (2, "2 of 400 test images are in train and 1 nearly"),
        (9, "2 of 400 test images are in train"),
    ],
)
def test_images_in_two_splits(monkeypatch, moved, told, observed):
    monkeypatch.setattr(Leaky, "moved", moved)
    (finding,) = said(data_checks.twice, Leaky())
    assert (finding.verdict, finding.message) == ("error", told)
    observed(f"error: {told}")


@pytest.mark.fault(29)
def test_a_validation_image_in_training(observed):
    (finding,) = said(data_checks.twice, changed(lambda x, y: (torch.cat([x, x[:100]]), torch.cat([y, y[:100]]))))
    assert finding.verdict == "error"
    assert "val images are in train" in finding.message
    observed(f"error: {finding.message}")


def test_files_in_two_splits_are_named(tmp_path):
    image_folder(tmp_path)
    for name in ("a", "b"):
        shutil.copy(tmp_path / "train" / "cat" / f"{len(name)}.png", tmp_path / "test" / "owl" / f"{name}.png")
    shutil.copy(tmp_path / "train" / "dog" / "5.png", tmp_path / "test" / "dog" / "c.png")
    (finding,) = said(data_checks.twice, ImageFolder(root=str(tmp_path), size=8, val_size=3))
    assert "test images are in train (test/" in finding.message
    assert finding.verdict == "error"


def test_a_few_among_thousands_cannot_be_mended():
    many = torch.randint(256, (3000, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    few = torch.cat([many[:3], 255 - many[3:2000]])
    splits = {"train": many, "test": few}
    finding = shared(splits, {name: len(part) for name, part in splits.items()})
    assert (finding.verdict, finding.message) == ("warning", "3 of 2,000 test images are in train")


def test_near_is_two_levels_anywhere_and_no_more():
    many = torch.randint(10, 240, (500, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    wide = many[:40].clone()
    wide[:20] += 2
    wide[20:, :, 3, 3] += 3
    assert duplicates(wide, many) == ([], list(range(20)))
    assert duplicates(many[:7], many) == (list(range(7)), [])


def test_large_collections_are_looked_at_as_long_as_there_is_time(monkeypatch):
    whole = Digits().splits[0]
    monkeypatch.setattr("time.monotonic", iter(range(1000)).__next__)
    monkeypatch.setattr(data_checks, "READING_SECONDS", 2.0)
    read = data_checks.read_levels(whole, block=10)
    assert 0 < len(read) < len(whole)
    finding = shared({"train": read, "val": read[:0]}, {"train": len(whole), "val": 0})
    assert f"looked at the first {len(read):,} of train" in finding.message


def test_the_nearest_image_of_another_class():
    (finding,) = said(data_checks.other_classes, Digits())
    images, labels = Digits().splits[0].__getitems__(list(range(1197)))
    flat = images.flatten(1).numpy() / 255
    nearest = cdist(flat, flat, "chebyshev")[labels[:, None].numpy() != labels.numpy()].min()
    assert finding.message == (
        f"the nearest image of another class is {nearest:.3g} away, 2 eps = 0.3 of Linf; 1,197 training images"
    )


def another_label(x, y):
    """The first image once more, and once more with a pixel changed by 30 levels, both with other labels."""
    changed = x[:1].clone()
    changed[0, 0, 0, 0] += 30
    return torch.cat([x, x[:1], changed]), torch.cat([y, (y[:1] + 1) % 10, (y[:1] + 2) % 10])


def test_images_of_two_classes_that_no_network_can_tell_apart():
    (finding,) = said(data_checks.other_classes, changed(another_label))
    assert finding.verdict == "warning"
    assert finding.message == (
        "3 of 1,199 training images have one of another class within 2 eps = 0.3 of Linf, 2 of them the same pixels with "
        "another label: no network is robust on both"
    )


def test_as_many_images_are_compared_as_take_two_seconds(monkeypatch):
    monkeypatch.setattr(data_checks, "PIXEL_PAIRS", 64 * 50**2)
    (finding,) = said(data_checks.other_classes, Digits())
    assert "; 50 training images" in finding.message


def test_images_without_a_label_are_of_no_class():
    class Unlabelled(Digits):
        @property
        def splits(self):
            train, val = super().splits
            x, y = another_label(*train.__getitems__(list(range(100))))
            return MemoryImages(x, torch.cat([y[:100], torch.tensor([-1, -1])])), val

    (finding,) = said(data_checks.other_classes, Unlabelled())
    assert (finding.verdict, "100 training images" in finding.message) == ("ok", True)


def test_images_of_which_none_has_a_label_are_said_to_have_none():
    class Unlabelled(Digits):
        @property
        def splits(self):
            train, val = super().splits
            return MemoryImages(train.__getitems__(list(range(20)))[0], torch.full((20,), -1)), val

    (finding,) = said(data_checks.other_classes, Unlabelled())
    assert (finding.verdict, finding.message) == ("ok", "no training image has a label")
