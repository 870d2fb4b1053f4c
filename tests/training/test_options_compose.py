"""Law: what goes around any method goes around every method, and around each other; the base's own terms stay."""

import pytest
import torch
import yaml
from recipe_steps import Steps
from shipped_recipes import RECIPES, content, parts
from tiny import images, labels

AROUND = {
    "norm_bias.NormBias": "norm_bias",
    "weissi.WEISSI": "weissi",
    "rank_projection.RankProjection": None,
    "interval_sensitivity.IntervalSensitivity": "interval",
    "node_alignment.NodeAlignment": "nodes",
    "head_scale.HeadScale": None,
}
REGION = "ard.objectives.region_at.RegionAT"


def inside():
    """One recipe of each objective that is no option itself, and one that replays."""
    options = {f"ard.objectives.{name}" for name in AROUND} | {REGION}
    kinds = {parts(path)["objective"]["class_path"]: path for path in reversed(RECIPES)}
    chosen = [path for kind, path in kinds.items() if kind not in options]
    return sorted({*chosen, next(path for path in RECIPES if path.stem == "fast_ard")})


def wrapped(recipe, names, place):
    """The recipe with each of the classes around its objective, in the order named, as a file."""
    tree = content(recipe)
    arguments = tree["model"]["init_args"]
    for name in names:
        arguments["objective"] = {"class_path": name, "init_args": {"base": arguments["objective"]}}
    arguments.setdefault("teacher", {"class_path": "ard.models.Frozen"})
    path = place / recipe.name
    path.write_text(yaml.safe_dump(tree))
    return path


@pytest.mark.parametrize("recipe", inside(), ids=lambda path: path.stem)
def test_every_option_at_once_around_every_method(recipe, tmp_path):
    names = [f"ard.objectives.{name}" for name in AROUND]
    attacks = recipe.stem not in ("natural", "kd", "fast_ard")
    steps = Steps(wrapped(recipe, [REGION] * attacks + names, tmp_path))
    torch.manual_seed(0)
    for number in range(2):
        taken = steps(number, images(4, seed=number), labels(4))
        if recipe.stem != "fast_ard":  # of which nobody asks for the terms
            assert {name for name in AROUND.values() if name} < set(taken.terms)
            assert all(term.isfinite().all() for term in taken.terms.values())
    assert all(value.isfinite().all() for value in steps.student.state_dict().values())
