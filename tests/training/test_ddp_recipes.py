"""Recipes on two processes: both ranks end with the same student and with the same state of the objective."""

import json

import pytest
from ddp_pair import train
from prepared import pair_environments, start, statuses
from recipe_steps import Steps
from shipped_recipes import spread


def all_kinds():
    """Every objective, attack and way of training."""
    return spread()


def those_with_more_than_weights():
    """What could differ between processes beside the student: an objective's state, replays, AWP, train mode."""
    steps = {recipe: Steps(recipe) for recipe in spread()}
    return [r for r, s in steps.items() if s.objective.state_dict() or s.replays or s.awp or s.mode == "train"]


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [those_with_more_than_weights, pytest.param(all_kinds, marks=pytest.mark.campaign)])
def test_a_pair_of_processes_agrees_after_every_kind_of_recipe(kinds, teacher_file, tmp_path):
    recipes = kinds()
    pair = [start(train, environment, tmp_path, teacher_file, recipes) for environment in pair_environments()]
    assert statuses(*pair) == [0, 0]
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2))
    assert set(first) == {path.stem for path in recipes}
    assert len(first) >= 15
    assert {name: told for name, told in first.items() if told != second[name]} == {}
    assert all(told["steps"] >= 2 for told in first.values())
