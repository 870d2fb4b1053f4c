"""Which labels are known, and which are wrong: every image is counted."""

import numpy as np
import pytest
import torch
from image_files import image_folder
from tiny import user_error

from ard.data import Digits, ImageFolder, KnownLabels, Mixed
from ard.data.loading import MemoryImages, fingerprint

TRAIN, VAL = Digits().splits
RIGHT = dict(zip(TRAIN.indices.tolist(), TRAIN.labels.tolist(), strict=True))


def labels(**arguments) -> dict[int, int]:
    """What is said of each training image, by its place."""
    images = KnownLabels(base=Digits(), **arguments).splits[0]
    pixels, found = images.__getitems__(list(range(len(images))))
    assert torch.equal(found, images.labels)
    assert torch.equal(pixels, TRAIN.images.__getitems__(images.indices.tolist())[0])
    return dict(zip(images.indices.tolist(), found.tolist(), strict=True))


def test_nothing_changes_where_all_is_known():
    assert labels() == RIGHT
    assert labels(labelled=len(RIGHT)) == RIGHT


@pytest.mark.parametrize("unlabelled", ["drop", "keep"])
def test_so_many_keep_their_label_each_class_its_share(unlabelled):
    found = labels(labelled=100, unlabelled=unlabelled)
    known = {place: label for place, label in found.items() if label >= 0}
    assert len(known) == 100
    assert known.items() <= RIGHT.items()
    assert min(list(known.values()).count(c) for c in range(10)) >= 9
    assert len(found) == (100 if unlabelled == "drop" else len(RIGHT))
    data = KnownLabels(base=Digits(), labelled=100, unlabelled=unlabelled)
    assert sum(data.class_counts) == 100
    assert torch.equal(data.splits[1].labels, VAL.labels)


@pytest.mark.parametrize("wrong_as", ["any", "next"])
@pytest.mark.parametrize("labelled", [None, 100])
def test_the_share_of_wrong_labels_is_exact_and_none_is_right(labelled, wrong_as):
    found = labels(labelled=labelled, wrong=0.4, wrong_as=wrong_as)
    count = len(RIGHT) if labelled is None else 100
    ahead = [(label - RIGHT[place]) % 10 for place, label in found.items()]
    wrong = [steps for steps in ahead if steps]
    assert len(ahead) == count
    assert len(wrong) == round(0.4 * count)
    assert set(wrong) == ({1} if wrong_as == "next" else set(range(1, 10)))
    assert found == labels(labelled=labelled, wrong=0.4, wrong_as=wrong_as)  # drawn once


@pytest.mark.parametrize("unlabelled", ["drop", "keep"])
@pytest.mark.parametrize("labelled", [None, 50])
def test_images_without_a_label_in_the_base_stay_so_and_count_in_no_share(labelled, unlabelled):
    base = KnownLabels(base=Digits(), labelled=100, unlabelled="keep")
    data = KnownLabels(base=base, labelled=labelled, unlabelled=unlabelled, wrong=0.2)
    found = dict(zip(data.splits[0].indices.tolist(), data.splits[0].labels.tolist(), strict=True))
    before = dict(zip(base.splits[0].indices.tolist(), base.splits[0].labels.tolist(), strict=True))
    without = {place for place, label in before.items() if label < 0}
    assert without <= {place for place, label in found.items() if label < 0}
    known = {place: label for place, label in found.items() if label >= 0}
    assert len(known) == (labelled or 100)
    assert sum(label != RIGHT[place] for place, label in known.items()) == round(0.2 * len(known))
    assert len(found) == (len(without) + len(known) if unlabelled == "drop" else len(RIGHT))


def test_the_seed_of_the_order_moves_no_label_and_that_of_the_split_does():
    assert labels(wrong=0.2) == labels(wrong=0.2, seed=3)
    other = KnownLabels(base=Digits(split_seed=1), wrong=0.2).splits[0]
    assert dict(zip(other.indices.tolist(), other.labels.tolist(), strict=True)) != labels(wrong=0.2)


def test_the_base_keeps_its_labels_and_says_what_is_tested():
    base = Digits(fold=2)
    data = KnownLabels(base=base, wrong=0.4)
    assert data.splits[0].labels.tolist() != base.splits[0].labels.tolist()
    assert (data.fold, data.title) == (2, "Digits")
    assert torch.equal(data.test_images().pixels, base.test_images().pixels)


def test_mixed_around_it_knows_no_more(tmp_path):
    np.savez(tmp_path / "more.npz", image=np.zeros((20, 8, 8, 1), np.uint8))
    inside = KnownLabels(base=Digits(), labelled=100, wrong=0.2)
    mixed = Mixed(base=inside, others=str(tmp_path / "more.npz"))
    assert torch.equal(mixed.splits[0].labels, inside.splits[0].labels)
    assert len(mixed.splits[0]) == 100
    with user_error("expected Mixed around KnownLabels"):
        KnownLabels(base=mixed)


def test_views_are_those_of_the_base():
    base = Digits(crop_padding=1)
    data = KnownLabels(base=base, wrong=0.1)
    drawn = [part.views(7, torch.Generator().manual_seed(0)) for part in (base, data)]
    assert data.view_count == base.view_count == 9
    assert torch.equal(*drawn)


def test_the_fingerprint_is_that_of_the_images_whatever_their_labels(tmp_path):
    folder = ImageFolder(root=str(image_folder(tmp_path)), size=8, val_size=6, batch_size=4, memory_limit_mb=0)
    for base in (Digits(), folder):
        expected = fingerprint(base.splits[0])
        assert fingerprint(KnownLabels(base=base, wrong=0.5).splits[0]) == expected
        assert fingerprint(KnownLabels(base=base, labelled=10).splits[0]) != expected


def test_no_class_is_left_without_a_label(monkeypatch):
    few = Digits()
    labels = TRAIN.images.labels.clone()
    labels[(labels == 9).nonzero()[4:, 0]] = 0
    monkeypatch.setattr(few, "training_images", lambda: MemoryImages(TRAIN.images.pixels, labels))
    train = KnownLabels(base=few, labelled=20).splits[0]
    assert torch.bincount(train.labels, minlength=10).min() == 1


def test_numbers_out_of_range_are_refused():
    for arguments, said in (
        ({"wrong": 1.0}, r"wrong = 1.0: expected a share in \[0, 1\)"),
        ({"wrong_as": "odd"}, "wrong_as = odd: expected one of any, next"),
        ({"labelled": 5}, "labelled = 5: expected 10"),
        ({"labelled": 5000}, "labelled = 5000: expected 10"),
    ):
        with user_error(said):
            _ = KnownLabels(base=Digits(), **arguments).splits
