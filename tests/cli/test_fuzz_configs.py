"""Configs, options and studies changed at random: every one is refused in one line, or training would begin."""

import pytest
import yaml
from conftest import random_teacher
from fuzzing import answered, damaged, mutated, odd, odd_like, tried
from hypothesis import given
from hypothesis import strategies as st
from small_runs import ROOT, teacher_options, workplace

RECIPES = sorted((ROOT / "configs/methods").glob("*.yaml"))
BASE = yaml.safe_load((ROOT / "configs/digits.yaml").read_text())
STUDY = yaml.safe_load((ROOT / "configs/studies/digits.yaml").read_text()) | {"recipes": ["pgd_at"], "overrides": {}}
QUIET = ["--trainer.default_root_dir=run", "--trainer.accelerator=cpu"]
draws = st.randoms(use_true_random=False)


class Began(BaseException):
    """Instead of the first epoch."""


@pytest.fixture
def place(tmp_path, monkeypatch):
    def begin(*_):
        raise Began

    monkeypatch.setattr("pytorch_lightning.loops.fit_loop._FitLoop.run", begin)
    monkeypatch.setattr("ard.study.job.Job._process", lambda *_, **__: "not run")
    random_teacher(tmp_path / "teacher.safetensors", 10)
    return workplace(tmp_path, monkeypatch)


def fit(place, *options):
    try:
        status, *_ = answered(place, "fit", *options, *QUIET)
    except Began:
        return
    assert status == 2  # nothing else ends before the first epoch


def full(recipe, place):
    """A base and a recipe in one tree, the teachers' weights put in."""
    recipe = yaml.safe_load(recipe.read_text())
    for option in teacher_options(recipe):
        *path, last = option.removeprefix("--").split(".")
        part = recipe
        for key in path:
            part = part.setdefault(key, {})
        part[last] = str(place / "teacher.safetensors")
    return {**BASE, "model": {**BASE["model"], "init_args": {**BASE["model"]["init_args"], **recipe["model"]["init_args"]}}}


@tried(25)
@given(draw=draws)
def test_trees_with_odd_values(place, draw):
    tree = mutated(full(draw.choice(RECIPES), place), draw)
    (place / "all.yaml").write_text(yaml.safe_dump(tree, allow_unicode=True))
    fit(place, "-c", "all.yaml")


@tried(40)
@given(draw=draws)
def test_damaged_text(place, draw):
    other = draw.choice(RECIPES).read_bytes()
    text = damaged(yaml.safe_dump(BASE).encode(), draw, other)
    (place / "damaged.yaml").write_bytes(
        text + draw.choice((b"", b"\tx: 1\n", b"data: {}\n", b"x: &x [*x]\n", b"? [1]\n: 2\n"))
    )
    fit(place, "-c", "damaged.yaml", "-c", draw.choice(RECIPES))


@tried(25)
@given(draw=draws)
def test_odd_options(place, draw):
    tree, place_in_tree = full(draw.choice(RECIPES), place), []
    (place / "all.yaml").write_text(yaml.safe_dump(tree))
    while isinstance(tree, dict) and tree and draw.randint(0, 5):
        place_in_tree.append(draw.choice(sorted(tree)))
        tree = tree[place_in_tree[-1]]
    value = odd_like(tree, draw) if draw.randint(0, 1) else odd(draw)
    fit(place, "-c", "all.yaml", f"--{'.'.join(place_in_tree)}={yaml.safe_dump(value, default_flow_style=True).strip()}")


@tried(20)
@given(draw=draws)
def test_odd_studies(place, draw):
    study = mutated(STUDY, draw)
    (place / "study.yaml").write_text(yaml.safe_dump(study, allow_unicode=True))
    status, *_ = answered(place, "study", "study.yaml", statuses=(1, 2))  # 1: the runs, none of which is run
    assert status in (1, 2)
