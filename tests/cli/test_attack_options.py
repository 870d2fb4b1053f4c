"""Radii, steps and step sizes that nobody means: an error or one warning, in one line that says what was expected."""

import warnings
from pathlib import Path

import pytest
import yaml
from tiny import user_error

from ard.attacks import AttackFactory, Ball
from ard.cli.lightning import resolve_config
from ard.configs.building import build

BALL = "ard.attacks.{norm}"
CONFIGS = Path(__file__).parents[2] / "configs"
RADII = [
    ("Linf", 8, r"Linf eps = 8: .* at most 0\.5; did you mean 8/255\?"),
    ("Linf", "0.51", r"expected at most 0\.5"),
    ("Linf", -0.1, "expected a radius of at least 0"),
    ("L2", -0.5, "expected a radius of at least 0"),
    ("Linf", float("nan"), "expected a (radius|finite)"),
]
REFUSED = [
    ("PGD", {"steps": 0}, "steps = 0: expected at least 1"),
    ("PGD", {"steps": -3}, "steps = -3: expected at least 1"),
    ("PGD", {"relative_step": 0}, "relative_step = 0: expected a step above 0, in units of eps"),
    ("PGD", {"relative_step": -0.25}, "relative_step = -0.25: expected a step above 0"),
    ("NFGSM", {"relative_step": 0}, "NFGSM with relative_step = 0"),
    ("NFGSM", {"noise": -1}, "noise = -1"),
]
WARNED = [
    ("PGD", {"steps": 10, "relative_step": 0.0078}, "gets 0.078 eps far"),
    ("PGD", {"steps": 3, "relative_step": 0.25}, "expected steps · relative_step of at least 1"),
    ("PGD", {"steps": 10, "relative_step": 2.5}, "longer than the ball is wide"),
    ("NFGSM", {"relative_step": 8}, "longer than the ball is wide"),
]
FINE = [("PGD", {"steps": 1}), ("PGD", {"steps": 10, "relative_step": 0.25}), ("PGD", {"steps": 4, "relative_step": 0.25})]


def attack(name, init_args):
    ball = build(Ball, {"class_path": BALL.format(norm="Linf"), "init_args": {"eps": "8/255"}})
    return build(AttackFactory, {"class_path": f"ard.attacks.{name}", "init_args": init_args})(ball=ball)


@pytest.mark.fault(33)
@pytest.mark.parametrize(("norm", "eps", "told"), RADII)
def test_radii_that_are_refused(norm, eps, told, observed):
    with user_error(told) as caught:
        build(Ball, {"class_path": BALL.format(norm=norm), "init_args": {"eps": eps}})
    observed(f"refused: {caught.value}")


@pytest.mark.fault(33)
@pytest.mark.parametrize(("name", "init_args", "told"), REFUSED)
def test_steps_that_are_refused(name, init_args, told, observed):
    with user_error(told) as caught:
        attack(name, init_args)
    observed(f"refused: {caught.value}")


@pytest.mark.fault(33)
@pytest.mark.parametrize(("name", "init_args", "told"), WARNED)
def test_steps_that_are_warned_of(name, init_args, told, observed):
    with pytest.warns(UserWarning, match=told) as caught:
        attack(name, init_args)
    assert len(caught) == 1
    assert "\n" not in str(caught[0].message)
    observed(f"warned: {caught[0].message}")


@pytest.mark.parametrize(("name", "init_args"), FINE)
def test_steps_that_are_fine(name, init_args):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attack(name, init_args)


def test_no_shipped_recipe_is_warned_of():
    for path in CONFIGS.rglob("*.yaml"):
        for section in sections(yaml.safe_load(path.read_text())):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                build(AttackFactory, section)(
                    ball=build(Ball, {"class_path": "ard.attacks.Linf", "init_args": {"eps": 0.1}})
                )


def sections(tree):
    if isinstance(tree, dict):
        if str(tree.get("class_path", "")) in ("ard.attacks.PGD", "ard.attacks.NFGSM"):
            yield tree
        for branch in tree.values():
            yield from sections(branch)


@pytest.mark.fault(33)
def test_training_without_a_radius_is_refused(command, tmp_path, observed):
    with user_error("threat eps = 0: there is nothing to attack") as caught:
        resolve_config(command(tmp_path, "pgd_at", "--model.init_args.threat.init_args.eps=0"))
    observed(f"refused: {caught.value}")
