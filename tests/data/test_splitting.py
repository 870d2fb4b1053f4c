"""Our split against scikit-learn's, index by index."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from ard.data import Digits
from ard.data.splitting import stratified_split


@pytest.mark.parametrize("seed", range(60))
def test_every_index_is_the_one_that_scikit_learn_draws(seed):
    draw = np.random.default_rng(seed)
    classes = int(draw.integers(2, 12))
    labels = np.concatenate([np.arange(classes).repeat(2), draw.integers(0, classes, int(draw.integers(classes, 400)))])
    labels = draw.permutation(labels) if seed % 2 else labels
    size = int(draw.integers(classes, len(labels) - classes + 1))
    expected = train_test_split(np.arange(len(labels)), test_size=size, stratify=labels, random_state=seed)
    for ours, theirs in zip(stratified_split(labels, size, seed), expected, strict=True):
        assert np.array_equal(ours, theirs)


def test_the_digits_are_those_of_scikit_learn():
    digits = load_digits()
    train, test = train_test_split(range(1797), test_size=400, stratify=digits.target, random_state=0)
    for images, chosen in ((Digits().training_images(), train), (Digits().test_images(), test)):
        assert np.array_equal(images.labels, digits.target[chosen])
        assert np.array_equal(images.pixels[:, 0], (digits.images[chosen] * 255 / 16).round().astype("uint8"))
