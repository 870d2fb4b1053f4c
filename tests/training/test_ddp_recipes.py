"""Recipes on two processes: both ranks end with the same student and with the same state of the objective."""

import json

import pytest
from ddp_pair import train
from prepared import pair_environments, start, statuses
from shipped_recipes import spread


@pytest.mark.slow
def test_a_pair_of_processes_agrees_after_every_kind_of_recipe(teacher_file, tmp_path):
    """Every objective, attack and way of training: replays, AWP, the average, a student that is attacked in train mode."""
    pair = [start(train, environment, tmp_path, teacher_file, spread()) for environment in pair_environments()]
    assert statuses(*pair) == [0, 0]
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2))
    assert set(first) == {path.stem for path in spread()}
    assert {name: told for name, told in first.items() if told != second[name]} == {}
    assert all(told["steps"] >= 2 for told in first.values())
