"""Intervals for accuracies and their differences, over training seeds and test images.

With few seeds a 95 % interval is only roughly that: it is too narrow where the choice of seed moves the accuracy much.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np


@dataclass(frozen=True)
class Difference:
    """mean(a) - mean(b) with its interval [low, high]; with one seed the interval covers the choice of images only."""

    mean: float
    low: float
    high: float
    seeds: int

    @property
    def significant(self) -> bool:
        """The interval excludes 0."""
        return self.low > 0 or self.high < 0


def paired_difference(
    a: np.ndarray, b: np.ndarray, *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> Difference:
    """mean(a) - mean(b) of booleans (seeds, images), with the percentile interval of a paired bootstrap.

    Each resample draws images and, where there are several, seeds, with replacement: the same for a and b, and the same
    images for all seeds. Raises ValueError where the shapes differ, are not (seeds, images), or hold nothing.
    """
    if a.shape != b.shape or a.ndim != 2 or not a.size:
        raise ValueError(f"shapes {a.shape} and {b.shape}; expected the same (seeds, images), not empty")
    seeds, images = a.shape
    difference = a.astype(np.int8) - b.astype(np.int8)
    # Images on which a and b agree and differ alike are interchangeable, so a resample of images is one multinomial
    # draw over the few distinct columns: the same distribution as drawing image by image, and far cheaper.
    columns, counts = np.unique(difference, axis=1, return_counts=True)
    rng = np.random.default_rng(seed)
    drawn_images = rng.multinomial(images, counts / images, size=resamples)
    drawn_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples)
    totals = ((drawn_images.astype(float) @ columns.T.astype(float)) * drawn_seeds).sum(axis=1)  # float: BLAS; exact
    low, high = np.quantile(totals / (seeds * images), [(1 - level) / 2, (1 + level) / 2])
    return Difference(float(difference.mean()), float(low), float(high), seeds)


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and the sample standard deviation over seeds, None with one seed; raises ValueError without values."""
    if not len(values):
        raise ValueError("no values; expected at least one seed")
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


def wilson_interval(accuracy: float, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval of an accuracy p over n images: (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n).

    z is the normal quantile of `level`. Raises ValueError without images or for an accuracy outside [0, 1].
    """
    if n < 1 or not 0 <= accuracy <= 1:
        raise ValueError(f"accuracy {accuracy:g} over {n} images; expected a fraction and at least one image")
    z = NormalDist().inv_cdf((1 + level) / 2)
    middle, half = accuracy + z**2 / (2 * n), z * sqrt(accuracy * (1 - accuracy) / n + z**2 / (4 * n**2))
    low, high = (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)
    return min(accuracy, max(0.0, low)), max(accuracy, min(1.0, high))  # rounding may step over 0, 1 or p
