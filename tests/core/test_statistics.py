"""ard.core.statistics: intervals against formulas and against repeated experiments."""

import numpy as np
import pytest
from scipy.stats import binomtest

from ard.core.statistics import Difference, mean_and_spread, paired_difference, wilson_interval


def coin(rng: np.random.Generator, p: float, shape: tuple[int, int]) -> np.ndarray:
    return rng.random(shape) < p


@pytest.mark.parametrize("images", [400, 10000])
def test_standard_error_is_the_formula(images: int) -> None:
    rng = np.random.default_rng(1)
    a, b = coin(rng, 0.8, (1, images)), coin(rng, 0.7, (1, images))
    difference = paired_difference(a, b)
    expected = np.std(a.astype(int) - b.astype(int)) / np.sqrt(images)  # of the paired difference, not of two means
    assert (difference.high - difference.low) / (2 * 1.96) == pytest.approx(expected, rel=0.1)
    assert difference.mean == pytest.approx(a.mean() - b.mean())


def test_grouping_images_is_the_plain_bootstrap() -> None:
    rng = np.random.default_rng(2)
    a, b = coin(rng, 0.8, (3, 200)), coin(rng, 0.7, (3, 200))
    drawn = []
    for _ in range(4000):
        images, seeds = rng.integers(0, 200, 200), rng.integers(0, 3, 3)
        drawn.append(a[np.ix_(seeds, images)].mean() - b[np.ix_(seeds, images)].mean())
    difference = paired_difference(a, b, resamples=4000)
    assert [difference.low, difference.high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.005)


def test_pairing_narrows_the_interval() -> None:
    rng = np.random.default_rng(3)
    a = coin(rng, 0.8, (1, 1000))
    b = a & coin(rng, 0.95, (1, 1000))  # wrong wherever a is wrong
    apart = paired_difference(a, rng.permuted(b, axis=1))
    paired = paired_difference(a, b)
    assert paired.mean == pytest.approx(apart.mean)
    assert paired.high - paired.low < 0.5 * (apart.high - apart.low)


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_row_does_not_differ_from_itself(seeds: int) -> None:
    a = coin(np.random.default_rng(4), 0.6, (seeds, 123))
    difference = paired_difference(a, a)
    assert difference == Difference(0.0, 0.0, 0.0, seeds)
    assert not difference.significant


def test_swapping_the_rows_swaps_the_sign() -> None:
    rng = np.random.default_rng(5)
    a, b = coin(rng, 0.8, (2, 3000)), coin(rng, 0.6, (2, 3000))
    one, other = paired_difference(a, b), paired_difference(b, a)
    assert one.significant
    assert other.significant
    assert one.mean == -other.mean
    assert one.low == pytest.approx(-other.high, abs=0.01)


def test_seed_noise_widens_the_interval() -> None:
    rng = np.random.default_rng(6)
    b = coin(rng, 0.7, (4, 2000))
    steady = coin(rng, 0.8, (4, 2000))
    noisy = np.stack([coin(rng, p, (1, 2000))[0] for p in (0.7, 0.77, 0.83, 0.9)])
    narrow, wide = paired_difference(steady, b), paired_difference(noisy, b)
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_one_seed_knows_nothing_of_seed_noise() -> None:
    a, b = np.ones((2, 100), bool), np.zeros((2, 100), bool)
    a[1], b[1] = False, True  # the two seeds say opposite things, every image alike
    assert paired_difference(a[:1], b[:1]).significant
    assert paired_difference(a, b) == Difference(0.0, -1.0, 1.0, 2)


@pytest.mark.parametrize("seeds", [1, 5])
def test_coverage(seeds: int) -> None:
    """95 % intervals hold the truth about 95 times in 100; with several seeds the two-way bootstrap errs upwards."""
    rng = np.random.default_rng(7)
    hits = 0
    for trial in range(300):
        images = rng.random((1, 300))  # a shared difficulty: a and b fail on the same images
        a, b = (0.5 * images + 0.5 * rng.random((seeds, 300)) < p for p in (0.6, 0.5))
        truth = 0.68 - 0.5  # P(u/2 + v/2 < 0.6) = 1 - 2 * 0.4² for uniform u, v
        difference = paired_difference(a, b, resamples=400, seed=trial)
        hits += difference.low <= truth <= difference.high
    assert 0.91 <= hits / 300 <= (0.98 if seeds == 1 else 1.0)


def test_level_orders_intervals_and_seed_repeats_them() -> None:
    rng = np.random.default_rng(8)
    a, b = coin(rng, 0.8, (2, 500)), coin(rng, 0.75, (2, 500))
    wide, narrow = paired_difference(a, b, level=0.99), paired_difference(a, b, level=0.8)
    assert wide.low < narrow.low < narrow.high < wide.high
    assert paired_difference(a, b) == paired_difference(a, b)


@pytest.mark.parametrize("shapes", [((1, 10), (1, 11)), ((1, 10), (2, 10)), ((10,), (10,)), ((0, 10), (0, 10))])
def test_shapes(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="shapes"):
        paired_difference(np.zeros(shapes[0], bool), np.zeros(shapes[1], bool))


def test_mean_and_spread() -> None:
    assert mean_and_spread([0.5]) == (0.5, None)
    assert mean_and_spread([0.8, 0.84]) == pytest.approx((0.82, 0.04 / np.sqrt(2)))
    with pytest.raises(ValueError, match="no values"):
        mean_and_spread([])


@pytest.mark.parametrize("level", [0.8, 0.95])
@pytest.mark.parametrize(("right", "n"), [(0, 20), (20, 20), (1, 3), (313, 400), (874, 2000), (0, 1)])
def test_wilson_is_that_of_scipy(right: int, n: int, level: float) -> None:
    theirs = binomtest(right, n).proportion_ci(level, method="wilson")
    assert wilson_interval(right / n, n, level=level) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert 0 <= wilson_interval(right / n, n)[0] <= right / n <= wilson_interval(right / n, n)[1] <= 1


@pytest.mark.parametrize(("accuracy", "n"), [(0.5, 0), (1.1, 10), (-0.1, 10), (float("nan"), 10)])
def test_wilson_refuses_what_is_no_accuracy(accuracy: float, n: int) -> None:
    with pytest.raises(ValueError, match="expected a fraction"):
        wilson_interval(accuracy, n)
