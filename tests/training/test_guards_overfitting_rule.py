"""When the alarm of catastrophic overfitting rings: on series of numbers, no run needed."""

import random

import pytest

from ard.training.callbacks.overfitting import diagnosed, judged


def alarm(series, images):
    """The first epoch of (PGD, FGSM) accuracies at which the rule ends the run."""
    best, suspected = 0.0, False
    for epoch, (pgd, fgsm) in enumerate(series):
        verdict = judged(pgd, fgsm, best, images, suspected=suspected)
        if verdict == "fooled":
            return epoch
        best, suspected = max(best, pgd), verdict == "suspected"
    return None


def healthy(length, rng, images):
    """Rises, overfits robustly by 8.9 points, falls by up to 9.4 in one epoch, as published runs did, seen on few images."""
    level = 0.10
    for epoch in range(length):
        level = min(0.53, level + 0.03) if epoch < length // 2 else max(0.44, level - 0.002)
        truth = max(0.06, level - (rng.random() * 0.094 if rng.random() < 0.02 else 0))
        luck, gap = [rng.random() for _ in range(images)], 0.02 + 0.08 * rng.random()
        yield tuple(sum(u < p for u in luck) / images for p in (truth, truth + gap))  # what withstands PGD withstands FGSM


@pytest.mark.parametrize("images", [32, 200, 1000])
def test_no_false_alarm_in_healthy_runs(images):
    rng = random.Random(0)
    assert [alarm(healthy(100, rng, images), images) for _ in range(20)] == [None] * 20


@pytest.mark.parametrize(
    ("best", "last"),
    [(0.5349, 0.4559), (0.5327, 0.4641), (0.53, 0.441)],
    ids=["PreActResNet-18", "selected", "largest drop"],
)
def test_robust_overfitting_of_published_runs_is_not_catastrophic(best, last):
    assert alarm([(best, best + 0.06), (last, last + 0.10)], 1000) is None


@pytest.mark.parametrize(
    ("series", "epoch"),
    [
        ([(0.20, 0.28), (0.33, 0.41), (0.38, 0.46), (0.02, 0.86)], 3),  # as in Wong et al. and Kim et al.
        ([(0.38, 0.46), (0.22, 0.62), (0.00, 0.86)], 2),
        ([(0.38, 0.46), (0.30, 0.60), (0.10, 0.80), (0.12, 0.82)], 3),
        ([(0.38, 0.46), (0.10, 0.80), (0.36, 0.50), (0.10, 0.80), (0.35, 0.52)], None),  # came back, twice
        ([(0.33, 0.39), (0.04, 0.20)], 1),
        ([(0.30, 0.36), (0.26, 0.50), (0.24, 0.50)], None),  # a wide gap alone is what a weak model looks like
        ([(0.03, 0.30), (0.02, 0.31), (0.12, 0.30), (0.04, 0.31)], None),  # was never robust
    ],
)
def test_the_rule(series, epoch):
    assert alarm(series, 1000) == epoch


def test_one_epoch_of_a_real_run_that_came_back_ends_nothing():
    """Digits, FGSM of eps 0.3 without a random start, epochs 31 to 37, then 54: on 200 images."""
    series = [(0.39, 0.705), (0.325, 0.735), (0.19, 0.77), (0.35, 0.76), (0.38, 0.725), (0.36, 0.755), (0.415, 0.83)]
    assert alarm(series, 200) is None
    assert judged(0.19, 0.77, 0.39, 200, suspected=False) == "suspected"


def test_few_images_say_little():
    assert judged(0.34, 0.60, 0.50, 1000, suspected=True) == "fooled"
    assert judged(0.34, 0.60, 0.50, 200, suspected=True) == "well"
    assert judged(0.0, 0.60, 0.30, 32, suspected=True) == "well"
    assert judged(0.0, 0.86, 0.60, 32, suspected=False) == "fooled"


@pytest.mark.parametrize(
    ("pgd", "fgsm", "name"), [(0.0, 0.9, "catastrophic overfitting"), (0.045, 0.035, "collapse under attack")]
)
def test_what_fgsm_finds_too_is_no_overfitting_to_one_step(pgd, fgsm, name):
    """A learning rate of 1 did this in the sixth of forty epochs."""
    assert judged(pgd, fgsm, 0.305, 200, suspected=False) == "fooled"
    assert diagnosed(pgd, fgsm)[0] == name
