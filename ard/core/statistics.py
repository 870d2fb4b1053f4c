"""Intervals for accuracies and their differences, over training seeds and test images.

Seeds and images are two samples, and an interval allows for both: t over the few seeds and z over the many images, added in
squares (Banerjee 1960, whose intervals cover at least what they say). docs/evaluation.md has their coverage by simulation.
Folds, of images, teachers and students of their own, are one sample that has both.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf, sqrt
from statistics import NormalDist

import numpy as np


@dataclass(frozen=True)
class Difference:
    """mean(a) - mean(b) with its 95 % interval [low, high]; with one run that covers the choice of images only.

    `shift` is what the interval lies around, and `over_runs` and `over_images` are the variances of its two parts; `runs`
    counts what the first is over: seeds, or folds, whose part has the images in it.
    """

    mean: float
    shift: float
    over_runs: float
    over_images: float
    runs: int
    has_folds: bool = False

    def interval(self, level: float) -> tuple[float, float]:
        """Low and high end at a level, within [-1, 1]."""
        images = _quantile(level) ** 2 * self.over_images
        runs = _quantile(level, self.runs - 1) ** 2 * self.over_runs if self.runs > 1 else 0.0
        half = max(images, runs) if self.has_folds else images + runs
        return max(-1.0, self.shift - sqrt(half)), min(1.0, self.shift + sqrt(half))

    @property
    def low(self) -> float:
        return self.interval(0.95)[0]

    @property
    def high(self) -> float:
        return self.interval(0.95)[1]

    @property
    def visible(self) -> float:
        """The true difference that a study like this one finds not to be 0 in about four of five cases (p < 0.05)."""
        parts = self.over_runs, self.over_images
        error = sqrt(max(parts) if self.has_folds else sum(parts))
        return (self.high - self.low) / 2 + _quantile(0.6, self.runs - 1) * error if self.runs > 1 else inf

    @cached_property
    def p(self) -> float:
        """The smallest p for which the interval at 1 - p excludes 0; 1 with one run, which says nothing of another."""
        if self.runs < 2:
            return 1.0
        unlikely, likely = 0.0, 1.0
        for _ in range(60):  # bisection: the interval grows with its level
            middle = (unlikely + likely) / 2
            low, high = self.interval(1 - middle)
            unlikely, likely = (unlikely, middle) if low > 0 or high < 0 else (middle, likely)
        return likely


def paired_difference(a: np.ndarray, b: np.ndarray) -> Difference:
    """mean(a) - mean(b) of booleans (seeds, images), row for row of one seed and image for image.

    Two images are added of which a gets one and b the other (Bonett and Price 2012), so that agreement on all images has
    a width, too. Raises ValueError where the shapes differ, are not (seeds, images), or hold nothing.
    """
    difference = _difference(a, b)
    of_images, seeds = _with_two_more(difference.mean(axis=0)), len(difference)
    over_runs = float(difference.mean(axis=1).var(ddof=1)) / seeds if seeds > 1 else 0.0
    return Difference(
        mean=float(difference.mean()),
        shift=float(of_images.mean()),
        over_runs=over_runs,
        over_images=float(of_images.var()) / len(of_images),
        runs=seeds,
    )


def folded_difference(folds: Sequence[tuple[np.ndarray, np.ndarray]]) -> Difference:
    """The same over two folds or more, each a pair (seeds, images) of images, teachers and students of its own.

    Folds have no test image, no teacher and no student in common, though most of what they are trained on; their means
    differ by their images, too: the interval is that of t over them, which has both parts, and never narrower than that of z
    over all images. Raises ValueError as paired_difference does.
    """
    differences = [_difference(a, b) for a, b in folds]
    means = np.array([difference.mean() for difference in differences])
    of_images = _with_two_more(np.concatenate([difference.mean(axis=0) for difference in differences]))
    return Difference(
        mean=float(means.mean()),
        shift=float(means.mean()),
        over_runs=float(means.var(ddof=1)) / len(means),
        over_images=float(of_images.var()) / len(of_images),
        runs=len(means),
        has_folds=True,
    )


def _difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.shape != b.shape or a.ndim != 2 or not a.size:
        raise ValueError(f"shapes {a.shape} and {b.shape}; expected the same (seeds, images), not empty")
    return a.astype(float) - b.astype(float)


def _with_two_more(of_images: np.ndarray) -> np.ndarray:
    return np.append(of_images, (1.0, -1.0))


def accuracy_interval(accuracies: Sequence[float], n: int) -> tuple[float, float]:
    """The 95 % interval of the mean accuracy over seeds on n images: Wilson's, widened by that of t over the seeds."""
    mean, spread = mean_and_spread(accuracies)
    low, high = wilson_interval(mean, n)
    if spread is None:
        return low, high
    half = (_quantile(0.95, len(accuracies) - 1) * spread) ** 2 / len(accuracies)
    return max(0.0, mean - sqrt((mean - low) ** 2 + half)), min(1.0, mean + sqrt((high - mean) ** 2 + half))


def holm(p: Sequence[float]) -> list[float]:
    """Values of p corrected for how many they are (Holm 1979): one below 0.05 errs in 5 % of such families at most."""
    corrected, largest = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda k: p[k])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        corrected[place] = largest
    return corrected


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and the sample standard deviation over seeds, None with one seed; raises ValueError without values."""
    if not len(values):
        raise ValueError("no values; expected at least one seed")
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


def known_mean(values: Iterable[float | None]) -> float | None:
    """The mean of the values that are known; None where none is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def wilson_interval(accuracy: float, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval of an accuracy p over n images: (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n).

    z is the normal quantile of `level`. Raises ValueError without images or for an accuracy outside [0, 1].
    """
    if n < 1 or not 0 <= accuracy <= 1:
        raise ValueError(f"accuracy {accuracy:g} over {n} images; expected a fraction and at least one image")
    z = _quantile(level)
    middle, half = accuracy + z**2 / (2 * n), z * sqrt(accuracy * (1 - accuracy) / n + z**2 / (4 * n**2))
    low, high = (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)
    return min(accuracy, max(0.0, low)), max(accuracy, min(1.0, high))  # rounding may step over 0, 1 or p


def chance_level(counts: Sequence[int]) -> float:
    """What an accuracy on so many images of each class must exceed to be above naming the most frequent class.

    With its whole 95 % interval: Wilson's lies above the share p of that class exactly where the accuracy is above
    p + z √(p(1 − p)/n). Raises ValueError without images.
    """
    if (n := sum(counts)) < 1:
        raise ValueError(f"{n} images; expected at least one")
    share = max(counts) / n
    return share + _quantile(0.95) * sqrt(share * (1 - share) / n)


def _quantile(level: float, freedom: int | None = None) -> float:
    """Of the normal distribution, or of t with so many degrees of freedom: the middle `level` of it lies within ± this."""
    tail = max((1 - level) / 2, 1e-150)  # of t with one degree of freedom even the square is then a number
    if freedom is None:
        return -NormalDist().inv_cdf(tail)
    from scipy.special import stdtrit  # takes a moment, and only several seeds need it

    return -float(stdtrit(freedom, tail))
