"""ard.core.statistics: intervals against formulas and against repeated experiments."""

import numpy as np
import pytest
from scipy.stats import binomtest, norm, ttest_1samp

from ard.core.statistics import (
    accuracy_interval,
    chance_level,
    folded_difference,
    holm,
    mean_and_spread,
    paired_difference,
    wilson_interval,
)


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


@pytest.mark.parametrize("n12", [0, 4, 30])
def test_one_seed_is_the_interval_of_bonett_and_price(n12: int) -> None:
    n, n21 = 100, 11  # images that only a, only b gets right
    a, b = np.zeros((2, 1, n), bool)
    a[0, :n12], b[0, n12 : n12 + n21] = True, True
    p, q = (n12 + 1) / (n + 2), (n21 + 1) / (n + 2)
    half = 1.959964 * np.sqrt((p + q - (p - q) ** 2) / (n + 2))
    difference = paired_difference(a, b)
    assert (difference.low, difference.high) == pytest.approx((p - q - half, p - q + half), abs=1e-6)


def test_several_seeds_add_t_over_seeds_in_squares() -> None:
    rng = np.random.default_rng(2)
    a, b = coin(rng, 0.8, (3, 50_000)), coin(rng, 0.7, (3, 50_000))
    a[0] = coin(rng, 0.9, (1, 50_000))
    difference = paired_difference(a, b)
    interval = ttest_1samp(a.mean(axis=1) - b.mean(axis=1), 0).confidence_interval(0.95)
    assert (difference.low, difference.high) == pytest.approx((interval.low, interval.high), abs=2e-4)  # images add little
    assert difference.p == pytest.approx(ttest_1samp(a.mean(axis=1) - b.mean(axis=1), 0).pvalue, rel=0.01)


def test_p_is_where_the_interval_begins_to_hold_0() -> None:
    rng = np.random.default_rng(9)
    difference = paired_difference(coin(rng, 0.8, (3, 400)), coin(rng, 0.6, (3, 400)))
    assert min(map(abs, difference.interval(1 - difference.p))) == pytest.approx(0, abs=1e-9)


def test_holm_by_hand() -> None:
    """0.005 · 4, 0.01 · 3, 0.03 · 2, and 0.04 · 1 raised to the one before it."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_interval_of_an_accuracy() -> None:
    assert accuracy_interval([0.0], 100) == wilson_interval(0.0, 100)
    assert accuracy_interval([0.5, 0.5, 0.5], 100) == pytest.approx(wilson_interval(0.5, 100))
    low, high = accuracy_interval([0.4, 0.6], 10**8)
    assert (low, high) == (0.0, 1.0)  # two seeds 20 points apart: 0.5 ± 12.7 · 0.1
    assert accuracy_interval([0.49, 0.51], 10**8)[1] == pytest.approx(0.5 + 12.7062 * 0.01, abs=1e-4)


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
    """The interval has a width all the same: agreement on 123 images is not agreement on all."""
    a = coin(np.random.default_rng(4), 0.6, (seeds, 123))
    difference = paired_difference(a, a)
    assert (difference.mean, difference.runs, difference.p) == (0.0, seeds, 1.0)
    assert -0.03 < difference.low == -difference.high < 0


def test_swapping_the_rows_swaps_the_sign() -> None:
    rng = np.random.default_rng(5)
    a, b = coin(rng, 0.8, (3, 3000)), coin(rng, 0.6, (3, 3000))
    one, other = paired_difference(a, b), paired_difference(b, a)
    assert one.p == other.p < 0.05
    assert (one.mean, one.low) == pytest.approx((-other.mean, -other.high))


def test_seed_noise_widens_the_interval() -> None:
    rng = np.random.default_rng(6)
    b = coin(rng, 0.7, (4, 2000))
    steady = coin(rng, 0.8, (4, 2000))
    noisy = np.stack([coin(rng, p, (1, 2000))[0] for p in (0.7, 0.77, 0.83, 0.9)])
    narrow, wide = paired_difference(steady, b), paired_difference(noisy, b)
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_one_seed_says_nothing_of_another_run() -> None:
    a, b = np.ones((2, 100), bool), np.zeros((2, 100), bool)
    a[1], b[1] = False, True  # the two seeds say opposite things, every image alike
    assert paired_difference(a[:1], b[:1]).low > 0.9
    assert paired_difference(a[:1], b[:1]).p == 1
    assert paired_difference(a, b).interval(0.95) == (-1.0, 1.0)


@pytest.mark.parametrize(("seeds", "spread"), [(1, 0.0), (2, 0.06), (3, 0.06), (5, 0.0)])
def test_coverage(seeds: int, spread: float) -> None:
    """95 % intervals hold the truth at least about 95 times in 100, however the seeds differ."""
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(600):
        images = rng.random((1, 300))  # a shared difficulty: a and b fail on the same images
        limits = 0.6 + spread * rng.normal(size=(seeds, 1))
        a, b = (0.5 * images + 0.5 * rng.random((seeds, 300)) < p for p in (limits, 0.5))
        truth = 0.68 - 2 * spread**2 - 0.5  # P(u/2 + v/2 < p) = 1 - 2 (1 - p)² for uniform u, v
        difference = paired_difference(a, b)
        hits += difference.low <= truth <= difference.high
    assert hits / 600 >= 0.93


def test_level_orders_intervals() -> None:
    rng = np.random.default_rng(8)
    difference = paired_difference(coin(rng, 0.8, (2, 500)), coin(rng, 0.75, (2, 500)))
    assert difference.interval(0.99)[0] < difference.interval(0.8)[0] < difference.interval(0.8)[1]


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


@pytest.mark.parametrize("counts", [[1], [20], [8, 7, 7, 8, 8], [40, 3, 3], [20, 0, 19, 21], [500, 501]])
def test_above_chance_is_where_the_whole_interval_lies_above_the_most_frequent_class(counts: list[int]) -> None:
    """Whatever the accuracy; with the one bound that a run logs, an epoch needs no second number."""
    n, level = sum(counts), chance_level(counts)
    for right in range(n + 1):
        assert (right / n > level) == (wilson_interval(right / n, n)[0] > max(counts) / n)


def test_there_is_no_chance_without_images() -> None:
    with pytest.raises(ValueError, match="at least one"):
        chance_level([0, 0])


def test_two_seeds_that_differ_alike_on_many_images_have_a_p() -> None:
    """The quantile of t with one degree of freedom and its square are numbers at any level."""
    a, b = np.ones((2, 400), bool), np.zeros((2, 400), bool)
    assert paired_difference(a, b).p < 1e-6


def folds(rng: np.random.Generator, seeds: int, spread: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Verdicts of two methods on five folds of 100 images: half of the variance is the image's own, truly 5 points apart."""
    drawn = []
    for _ in range(5):
        ease, shift = rng.normal(size=100), spread * rng.normal(size=(seeds, 1))
        a, b = (ease + rng.normal(size=(seeds, 100)) for _ in "ab")
        drawn.append((a < np.sqrt(2) * (0.1257 + 2.5 * shift), b < 0.0))  # 55 % and 50 %; a point is 0.025 there
    return drawn


@pytest.mark.parametrize(("seeds", "spread"), [(1, 0.0), (2, 0.0), (3, 0.0), (2, 0.03)])
def test_an_interval_over_folds_holds_the_truth_as_often_as_it_says(seeds: int, spread: float) -> None:
    rng = np.random.default_rng([seeds, int(100 * spread)])
    intervals = [folded_difference(folds(rng, seeds, spread)).interval(0.95) for _ in range(400)]
    held = sum(low <= 0.05 <= high for low, high in intervals)
    assert binomtest(held, 400, 0.95).pvalue > 0.001 or held > 380


@pytest.mark.parametrize("seeds", [1, 2])
def test_folds_are_one_sample_of_which_t_knows_all(seeds: int) -> None:
    drawn = folds(np.random.default_rng(3), seeds, 0.03)
    means = [a.mean() - b.mean() for a, b in drawn]
    difference, interval = folded_difference(drawn), ttest_1samp(means, 0).confidence_interval(0.95)
    assert (difference.runs, difference.mean) == (5, pytest.approx(np.mean(means)))
    assert (difference.low, difference.high) == pytest.approx((interval.low, interval.high))
    assert difference.p == pytest.approx(ttest_1samp(means, 0).pvalue, rel=1e-6)


def test_folds_that_agree_have_the_width_of_their_images() -> None:
    a, b = np.arange(100)[None] < 60, np.arange(100)[None] < 50
    difference, flat = folded_difference([(a, b)] * 4), paired_difference(np.tile(a, 4), np.tile(b, 4))
    assert difference.high - difference.low == pytest.approx(flat.high - flat.low)


def test_a_visible_difference_is_found_four_times_out_of_five() -> None:
    rng, found = np.random.default_rng(5), 0
    ease = rng.normal(size=(1000, 1, 400))
    visible = np.median([one.visible for one in (paired_difference(*_pair(rng, part, 0.0)) for part in ease[:100])])
    for part in ease:
        found += paired_difference(*_pair(rng, part, float(visible))).interval(0.95)[0] > 0
    assert 0.72 < found / 1000 < 0.9  # the interval is a little wide


def _pair(rng: np.random.Generator, ease: np.ndarray, apart: float) -> tuple[np.ndarray, np.ndarray]:
    a, b = ((ease + rng.normal(size=(10, 400))) / np.sqrt(2) for _ in "ab")
    return a < norm.ppf(0.5 + apart), b < 0.0
