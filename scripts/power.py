#!/usr/bin/env python3
"""What a comparison of two methods can see: which true difference is found not to be 0 four times out of five.

From the verdict bits of the first tier on digits: the difference from the baseline varies between images (for all seeds
alike, and for each seed anew) and between training runs. Writes docs/results/power.json: these variances, and what they make
of a number of images and seeds, on one test set or in five folds. Reads records only.
"""

import json
from pathlib import Path
from statistics import median

import numpy as np

from ard.artifacts.record_file import read_record
from ard.core.statistics import Difference

ROOT = Path(__file__).parents[1]
STUDY, BASELINE = ROOT / "docs" / "results" / "digits-first-tier", "pgd_at_ema"
NOT_ROBUST = {"natural", "kd", "teachers"}  # nobody asks whether these are within 2 points
IMAGES, SEEDS, FOLDS = (400, 1000, 1797, 5000, 10_000), (2, 3, 5, 10), (1, 2, 3)
DIGITS = 1797


def verdicts(method: str) -> np.ndarray:
    """Right after every attack, (seeds, images)."""
    return np.stack([read_record(path).worst for path in sorted((STUDY / method).glob("seed*/evaluation.json"))]).astype(
        float
    )


def variances(difference: np.ndarray) -> dict[str, float]:
    """Of (seeds, images) into what belongs to an image, to an image of one run, and to a run, each at least 0."""
    seeds, images = difference.shape
    of_run = difference.var(axis=1, ddof=1).mean()
    of_mean = difference.mean(axis=0).var(ddof=1)
    # E of_run = image + anew, E of_mean = image + anew / seeds
    anew = max(0.0, float(of_run - of_mean) * seeds / (seeds - 1))
    image = max(0.0, float(of_run) - anew)
    run = max(0.0, float(difference.mean(axis=1).var(ddof=1)) - anew / images)
    return {"image": image, "image_of_a_run": anew, "run": run}


def visible(parts: dict[str, float], images: int, seeds: int, folds: int = 1) -> tuple[float, float]:
    """Half the interval, and the difference that is found four times out of five; a fold's runs count as one."""
    over_images = (parts["image"] + parts["image_of_a_run"] / seeds) / images
    if folds == 1:  # an interval takes its part of the runs from their means, in which is what images have anew in each
        over_runs = (parts["run"] + parts["image_of_a_run"] / images) / seeds
        one = Difference(mean=0.0, shift=0.0, over_runs=over_runs, over_images=over_images, runs=seeds)
    else:
        over = over_images + parts["run"] / (seeds * folds)
        one = Difference(mean=0.0, shift=0.0, over_runs=over, over_images=over_images, runs=folds, has_folds=True)
    return one.high, one.visible


def cell(found: list[dict[str, float]], images: int, seeds: int, folds: int = 1) -> dict[str, float]:
    both = [visible(parts, images, seeds, folds) for parts in found]
    half, seen = (round(median(values), 5) for values in zip(*both, strict=True))
    return {"images": images, "seeds": seeds, "folds": folds, "half_width": half, "visible": seen}


if __name__ == "__main__":
    baseline = verdicts(BASELINE)
    methods = sorted(p.name for p in STUDY.iterdir() if p.is_dir() and p.name not in NOT_ROBUST | {BASELINE})
    found = {method: variances(verdicts(method) - baseline) for method in methods}
    flat = [cell(list(found.values()), images, seeds) for images in IMAGES for seeds in SEEDS]
    folds = [cell(list(found.values()), DIGITS, seeds, 5) for seeds in FOLDS]
    content = {"study": STUDY.name, "baseline": BASELINE, "variances": found, "designs": [*flat, *folds]}
    (ROOT / "docs" / "results" / "power.json").write_text(json.dumps(content, indent=1) + "\n")
