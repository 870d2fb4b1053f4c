"""ard.evaluation: what must make a verdict unreliable does, and what cannot be measured is refused in one line."""

import json

import pytest
import torch
from scipy.stats import binomtest
from small_runs import digits, trained
from tiny import user_error
from torch import nn

from ard.artifacts.typed_json import written
from ard.attacks import L2, Attack, Linf
from ard.evaluation.adversaries import GradientAdversary, untargeted
from ard.evaluation.cascade import Block
from ard.evaluation.checks import CHECKS, Evidence, checks_of
from ard.evaluation.checks.order import above_chance, more_steps_no_weaker
from ard.evaluation.evaluation import evaluate_images
from ard.evaluation.suites import SUITES, Given, pgd
from ard.evaluation.verdicts import Verdicts
from ard.losses import cross_entropy

pytestmark = pytest.mark.usefixtures("short_attacks")

BALL = Linf(eps=0.1)


class Shift(Attack):
    """Adds a constant: by its size an attack that leaves the ball, leaves [0, 1], or does nothing."""

    def __init__(self, ball, *, by, clamp):
        super().__init__(ball)
        self.by, self.clamp = by, clamp

    @property
    def settings(self):
        return {"by": self.by, "clamp": self.clamp}

    def bound(self, x_adv, centre):  # noqa: ARG002
        return (centre + self.by).clamp(0, 1) if self.clamp else centre + self.by


def climb(attack):
    return GradientAdversary(name="fake", ball=BALL, attack=attack, loss="cross_entropy", goals=[untargeted(cross_entropy)])


class Answers(nn.Module):
    """The trained network with its logits put through `change(logits, x)`."""

    def __init__(self, change):
        super().__init__()
        self.net, self.change = trained(), change

    def forward(self, x):
        return self.change(self.net(x), x)


def failed(record):
    return [check.id for check in record.checks if check.verdict == "fail"]


def test_a_sound_evaluation_passes_every_check():
    record = evaluate_images(trained(), *digits(100), BALL)
    assert [check.id for check in record.checks] == checks_of("quick")
    assert (failed(record), record.verdict) == ([], "upper bound")


@pytest.mark.parametrize(
    ("right", "n", "above"),
    [(2, 10, False), (5, 10, True), (5, 5, True), (0, 5, False), (1, 1, False), (39, 400, False), (60, 400, True)],
)
def test_a_clean_accuracy_at_chance_is_a_warning(right, n, above):
    """Ten classes in turn; of n answers the first `right` are right, with the interval of scipy."""
    labels = torch.arange(n) % 10
    correct = torch.arange(n) < right
    block = Block(0, {"clean": correct})
    evidence = Evidence(None, None, labels, BALL, Verdicts.of([block]), [], Given(), 0, 10)
    found = above_chance(evidence)
    interval = binomtest(right, n).proportion_ci(0.95, method="wilson")
    assert found.verdict == ("pass" if above else "warn")
    assert f"{100 * right / n:.1f} % [{100 * interval.low:.1f}, {100 * interval.high:.1f}]" in found.reason


def test_who_always_names_the_most_frequent_class_is_at_chance():
    labels = (torch.arange(400) >= 360).long()
    evidence = Evidence(None, None, labels, BALL, Verdicts.of([Block(0, {"clean": labels == 0})]), [], Given(), 0, 2)
    assert above_chance(evidence).verdict == "warn"


@pytest.mark.parametrize("n", [400, 10_000])
@pytest.mark.parametrize("disagree", [6, 9, 15, 40, 120, 400])
def test_more_steps_may_lose_what_luck_may_lose(n, disagree):
    """Two attacks that disagree on so many images at random pass but once in thousands: against the exact binomial."""
    adversaries = [*SUITES["quick"](BALL, 10, Given(), 64), pgd(BALL, 100)]
    for lost in range(disagree // 2, disagree + 1):
        by_20, by_100 = torch.arange(n) < lost, (torch.arange(n) >= lost) & (torch.arange(n) < disagree)
        correct = {"clean": torch.arange(n) < n, "FGSM": torch.arange(n) < n, "CW": torch.arange(n) < n}
        block = Block(0, correct | {"PGD-20": ~by_20, "PGD-100": ~by_100})
        evidence = Evidence(None, None, torch.arange(n) % 10, BALL, Verdicts.of([block]), adversaries, Given(), 0, 10)
        luck = binomtest(lost, disagree, alternative="greater").pvalue
        verdict = more_steps_no_weaker(evidence).verdict
        assert verdict == "pass" or luck < 1e-3
        assert verdict == "fail" or luck > 1e-7 or 2 * lost - disagree <= 0.002 * n


def evidence_of(ball):
    verdicts = Verdicts.of([Block(0, {"clean": torch.ones(20, dtype=torch.bool)})])
    return Evidence(None, *digits(20), ball, verdicts, [], Given(), 0, 10)


def test_what_pgd_gains_in_its_last_ten_steps_is_of_ten_steps(monkeypatch):
    monkeypatch.setattr("ard.evaluation.checks.probing._trace", lambda *_: torch.arange(101.0)[:, None].expand(-1, 20))
    monkeypatch.setattr(Evidence, "correct_after", lambda *_: torch.ones(20, dtype=torch.bool))
    found = CHECKS["O2"].run(evidence_of(BALL))
    assert (found.verdict, found.value) == ("warn", pytest.approx(0.1))


def test_at_radius_0_no_loss_has_to_rise():
    assert CHECKS["O12"].run(evidence_of(Linf(eps=0))).verdict == "skipped"


@pytest.mark.parametrize(
    ("by", "clamp", "found"),
    [(0.2, True, ["V1"]), (0.1005, True, ["V1"]), (0.09, False, ["V2"]), (-0.09, False, ["V2"]), (0.0, True, ["V4"])],
)
def test_an_attack_that_breaks_its_rules_is_not_trusted(by, clamp, found, monkeypatch):
    attack = Shift(BALL, by=by, clamp=clamp)
    monkeypatch.setitem(SUITES, "fake", lambda *_: [climb(attack)])
    record = evaluate_images(trained(), *digits(100), BALL, suite="fake")
    assert (failed(record), record.verdict) == (found, "unreliable")


def test_an_attack_may_reach_the_edge_of_the_ball(monkeypatch):
    attack = Shift(BALL, by=0.1, clamp=True)
    monkeypatch.setitem(SUITES, "fake", lambda *_: [climb(attack)])
    assert evaluate_images(trained(), *digits(100), BALL, suite="fake").verdict == "upper bound"


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda logits, _: logits.softmax(1), "M3"),
        (lambda logits, _: torch.where(torch.arange(10) == 3, torch.nan, logits), "V3"),
        (lambda logits, _: torch.where(torch.arange(10) == 3, -torch.inf, logits), "V3"),
    ],
    ids=["probabilities", "NaN", "minus infinity"],
)
def test_a_model_in_bad_condition_is_not_trusted(change, found):
    record = evaluate_images(Answers(change), *digits(100), BALL)
    assert found in failed(record)
    assert record.verdict == "unreliable"


@pytest.mark.parametrize("first", [True, False], ids=["among the first images", "among later ones"])
def test_logits_that_are_not_finite_are_found_wherever_they_are(first):
    """One image of two blocks, told by its pixels, gets logits without a number."""
    x, y = digits(200)
    marked = x[10 if first else 150]
    model = Answers(lambda logits, x: torch.where(((x - marked).abs().amax((1, 2, 3)) < 1e-6)[:, None], torch.nan, logits))
    assert "V3" in failed(evaluate_images(model, x, y, BALL))


@pytest.mark.parametrize("block", [0, 1])
def test_gradients_that_are_not_finite_are_found_in_any_block(block):
    """Finite logits whose gradient is NaN, as a square root at zero has: attacked images become NaN."""
    x, y = digits(200)
    marked = x[(trained()(x).argmax(1) == y).nonzero().squeeze(1)[-block]]

    def change(logits, x):
        here = (x - marked).abs().amax((1, 2, 3)).min() < 0.3
        return logits + (0 * x.sum()).sqrt() if here else logits

    record = evaluate_images(Answers(change), x, y, L2(eps=0.5))
    assert record.verdict == "unreliable"
    json.loads(written(record, record.schema), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


class RightInside(nn.Module):
    """Class 0 in the ball around the images that it was made of, class 1 outside."""

    def __init__(self, x, ball):
        super().__init__()
        self.x, self.ball = x, ball

    def forward(self, x):
        room = 1.001 * self.ball.eps - self.ball.distance(x - self.x[: len(x)])
        return torch.stack([room, -room], dim=1)


@pytest.mark.parametrize("levels", [3.4, 7.65, 8, 38.25])
def test_attempts_on_levels_stay_in_the_ball(levels):
    """A radius may lie between two levels, and what is outside says nothing of a network."""
    x, ball = digits(40)[0], Linf(eps=levels / 255)
    attempts = ball.project(x + 1, x)
    verdicts = Verdicts.of([Block(0, {"clean": torch.ones(40, dtype=torch.bool)}, {"clean": {}}, x_adv=attempts)])
    evidence = Evidence(RightInside(x, ball), x, torch.zeros(40, dtype=torch.long), ball, verdicts, [], Given(), 0, 10)
    assert CHECKS["O21"].run(evidence).verdict == "pass"


def test_pixels_between_the_levels_are_not_trusted():
    """An image that was resized or normalised after quantisation is not the image that was published."""
    x, y = digits(100)
    record = evaluate_images(trained(), x * 0.999, y, BALL)
    assert (failed(record), record.verdict) == (["M7"], "unreliable")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda logits, _: (logits, logits), "returns tuple for"),
        (lambda logits, _: {"logits": logits}, "returns dict for"),
        (lambda logits, _: logits[:-1], "for 100 images; expected one logit a class for each image"),
        (lambda logits, _: logits[:, 0], "for 100 images; expected one logit a class for each image"),
        (lambda logits, _: logits[..., None], "for 100 images; expected one logit a class for each image"),
    ],
    ids=["tuple", "dict", "an image short", "one number an image", "three dimensions"],
)
def test_what_are_not_logits_is_refused(change, found):
    with user_error(found):
        evaluate_images(Answers(change), *digits(100), BALL)


def test_what_are_not_pixels_is_refused():
    x, y = digits(20)
    with user_error(r"pixels in \[0, 255\]; expected \[0, 1\]"):
        evaluate_images(trained(), x * 255, y, BALL)
    with user_error(r"pixels in \[-0.5, "):
        evaluate_images(trained(), x - 0.5, y, BALL)
    with user_error("pixels in"):
        evaluate_images(trained(), x * torch.nan, y, BALL)


@pytest.mark.fault(27)
def test_an_empty_set_is_refused(observed):
    x, y = digits(20)
    with user_error("no images to evaluate") as caught:
        evaluate_images(trained(), x[:0], y[:0], BALL)
    observed(f"evaluation: {caught.value}")


def test_a_suite_that_does_not_exist_is_refused():
    with user_error("suite 'quikc': expected one of quick, standard, full"):
        evaluate_images(trained(), *digits(20), BALL, suite="quikc")
