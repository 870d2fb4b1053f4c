"""Our split against scikit-learn's, index by index."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from ard.core.errors import UserError
from ard.data import Digits
from ard.data.splitting import stratified_folds, stratified_split


@pytest.mark.parametrize("seed", range(60))
def test_every_index_is_the_one_that_scikit_learn_draws(seed):
    draw = np.random.default_rng(seed)
    classes = int(draw.integers(2, 12))
    labels = np.concatenate([np.arange(classes).repeat(2), draw.integers(0, classes, int(draw.integers(classes, 400)))])
    labels = draw.permutation(labels) if seed % 2 else labels
    size = int(draw.integers(classes, len(labels) - classes + 1))
    expected = train_test_split(np.arange(len(labels)), test_size=size, stratify=labels, random_state=seed)
    split = stratified_split(labels, size, seed)
    if all(set(labels[part]) == set(labels) for part in expected):
        for ours, theirs in zip(split, expected, strict=True):
            assert np.array_equal(ours, theirs)
    assert [set(labels[part]) for part in split] == [set(labels)] * 2
    assert [len(part) for part in split] == [len(labels) - size, size]
    assert np.array_equal(np.sort(np.concatenate(split)), np.arange(len(labels)))


@pytest.mark.parametrize(
    ("counts", "size", "expected"),
    [
        ((3, 25), 4, (1, 3)),
        ((2, 38), 38, (1, 37)),
        ((2, 2, 90), 3, (1, 1, 1)),
        ((1, 9), 3, (1, 2)),  # of the known labels, of which each class has one
        ((4, 4), 1, (1, 0)),  # too few for all
    ],
)
def test_a_rare_class_is_on_both_sides(counts, size, expected):
    for seed in range(5):
        rest, drawn = stratified_split(np.arange(len(counts)).repeat(counts), size, seed)
        found = np.bincount(np.arange(len(counts)).repeat(counts)[drawn], minlength=len(counts))
        assert sorted(found) == sorted(expected) if size < len(counts) else tuple(found) == expected
        assert len(rest) == sum(counts) - size


def test_the_digits_are_those_of_scikit_learn():
    digits = load_digits()
    train, test = train_test_split(range(1797), test_size=400, stratify=digits.target, random_state=0)
    for images, chosen in ((Digits().training_images(), train), (Digits().test_images(), test)):
        assert np.array_equal(images.labels, digits.target[chosen])
        assert np.array_equal(images.pixels[:, 0], (digits.images[chosen] * 255 / 16).round().astype("uint8"))


@pytest.mark.parametrize("seed", range(10))
def test_folds_share_all_out_and_every_class_evenly(seed):
    draw = np.random.default_rng(seed)
    count, classes = int(draw.integers(2, 7)), int(draw.integers(2, 12))
    labels = draw.permutation(np.concatenate([np.arange(classes).repeat(2), draw.integers(0, classes, 300)]))
    folds = stratified_folds(labels, count, seed)
    assert np.array_equal(np.sort(np.concatenate([fold for _, fold in folds])), np.arange(len(labels)))
    for rest, fold in folds:
        assert np.array_equal(np.sort(np.concatenate([rest, fold])), np.arange(len(labels)))
    assert np.ptp([len(fold) for _, fold in folds]) <= 1
    assert np.ptp([np.bincount(labels[fold], minlength=classes) for _, fold in folds], axis=0).max() <= 1


def test_each_digit_is_tested_in_one_fold_and_trained_on_in_the_others():
    tested = [Digits(fold=fold).test_images() for fold in range(5)]
    assert sum(map(len, tested)) == 1797
    pictures = {bytes(picture.numpy()) for images in tested for picture in images.pixels}
    assert len(pictures) == len(
        {bytes(p.numpy()) for p in Digits().training_images().pixels}
        | {bytes(p.numpy()) for p in Digits().test_images().pixels}
    )
    for fold, images in enumerate(tested):
        seen = {bytes(picture.numpy()) for picture in Digits(fold=fold).training_images().pixels}
        assert not seen & {bytes(picture.numpy()) for picture in images.pixels}
    with pytest.raises(UserError, match="fold = 5: expected 0 to 4"):
        Digits(fold=5)
