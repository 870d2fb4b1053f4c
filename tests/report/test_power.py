"""What a design is said to see, against the intervals of differences drawn with the same variances."""

import numpy as np
import pytest
from power import variances, visible

from ard.core.statistics import folded_difference, paired_difference

PARTS = {"image": 0.03, "image_of_a_run": 0.1, "run": 0.0001}


def drawn(seeds, images, rng):
    parts = {name: variance**0.5 for name, variance in PARTS.items()}
    of_image = rng.normal(0, parts["image"], images)
    anew = rng.normal(0, parts["image_of_a_run"], (seeds, images))
    return of_image + anew + rng.normal(0, parts["run"], (seeds, 1))


@pytest.mark.parametrize(("seeds", "images", "folds"), [(3, 400, 1), (5, 1000, 1), (2, 360, 5)])
def test_a_design_sees_what_intervals_of_such_data_say(seeds, images, folds):
    rng, nothing = np.random.default_rng(0), np.zeros((seeds, images))
    halves = []
    for _ in range(200):
        data = [drawn(seeds, images, rng) for _ in range(folds)]
        one = folded_difference([(d, nothing) for d in data]) if folds > 1 else paired_difference(data[0], nothing)
        halves.append((one.high - one.low) / 2)
    said, seen = visible(PARTS, images * folds, seeds, folds)
    assert np.mean(np.square(halves)) ** 0.5 == pytest.approx(said, rel=0.1)
    assert seen > said


def test_variances_are_found_again():
    rng = np.random.default_rng(1)
    found = [variances(drawn(5, 1000, rng)) for _ in range(100)]
    for name, value in PARTS.items():
        assert np.mean([parts[name] for parts in found]) == pytest.approx(value, rel=0.25)
