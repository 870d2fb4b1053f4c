#!/usr/bin/env python3
"""How often a 95 % interval of a difference holds the truth, and how wide it is: the paired bootstrap, and t and z.

Two methods with 55 % and 50 % right, paired by image and by seed: images are hard for both alike, and the true difference of
a seed is drawn anew with a spread of 0, 2 or 6 points. Writes docs/results/coverage.json in about a minute.
"""

import json
from itertools import product
from pathlib import Path
from statistics import NormalDist, mean

import numpy as np

from ard.core.statistics import paired_difference

OUTPUT = Path(__file__).parents[1] / "docs" / "results" / "coverage.json"
SEEDS, SPREADS, IMAGES = (2, 3, 5, 10), (0.0, 0.02, 0.06), (100, 400, 2000)
TRIALS, RESAMPLES, TRUTH = 400, 300, 0.05


def drawn(rng: np.random.Generator, seeds: int, spread: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Verdicts (seeds, n) of both methods, of which half of the variance is the image's own."""
    ease = rng.normal(size=n)
    accuracies = 0.5 + TRUTH + spread * rng.normal(size=seeds), np.full(seeds, 0.5)
    limits = [np.array([NormalDist().inv_cdf(p) for p in np.clip(ps, 0.001, 0.999)]) for ps in accuracies]
    a, b = ((ease + rng.normal(size=(seeds, n))) / np.sqrt(2) < limit[:, None] for limit in limits)
    return a, b


def bootstrap(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """The percentile interval of seeds and images drawn with replacement, which tables had before."""
    seeds, images = a.shape
    columns, counts = np.unique(a.astype(np.int8) - b.astype(np.int8), axis=1, return_counts=True)
    of_images = rng.multinomial(images, counts / images, size=RESAMPLES).astype(np.float32)
    of_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=RESAMPLES)
    totals = ((of_images @ columns.T.astype(np.float32)) * of_seeds).sum(axis=1)
    low, high = np.quantile(totals / (seeds * images), [0.025, 0.975])
    return float(low), float(high)


def cell(seeds: int, spread: float, n: int) -> dict[str, float]:
    """Coverage and mean width of both methods."""
    rng = np.random.default_rng([seeds, int(1000 * spread), n])
    intervals: dict[str, list[tuple[float, float]]] = {"bootstrap": [], "t_and_z": []}
    for _ in range(TRIALS):
        a, b = drawn(rng, seeds, spread, n)
        intervals["bootstrap"].append(bootstrap(a, b, rng))
        intervals["t_and_z"].append(paired_difference(a, b).interval(0.95))
    row: dict[str, float] = {"seeds": seeds, "spread": spread, "n": n}
    for name, found in intervals.items():
        row[f"{name}_coverage"] = mean(low <= TRUTH <= high for low, high in found)
        row[f"{name}_width"] = round(mean(high - low for low, high in found), 4)
    return row


if __name__ == "__main__":
    rows = [cell(*place) for place in product(SEEDS, SPREADS, IMAGES)]
    OUTPUT.write_text(json.dumps({"trials": TRIALS, "resamples": RESAMPLES, "truth": TRUTH, "rows": rows}, indent=1) + "\n")
