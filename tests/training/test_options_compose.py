"""Law: what goes around any method goes around every method, and around each other; the base's own terms stay."""

import pytest
import torch
from recipe_steps import Steps
from shipped_recipes import RECIPES, parts
from tiny import images, labels, user_error

from ard.objectives.head_scale import HeadScale
from ard.objectives.igdm import IGDM
from ard.objectives.interval_sensitivity import IntervalSensitivity
from ard.objectives.less_known import LessKnown
from ard.objectives.liet import LIET
from ard.objectives.node_alignment import NodeAlignment
from ard.objectives.norm_bias import NormBias
from ard.objectives.rank_projection import RankProjection
from ard.objectives.region_at import RegionAT
from ard.objectives.weissi import WEISSI

AROUND = {
    NormBias: "norm_bias",
    WEISSI: "weissi",
    RankProjection: None,
    IntervalSensitivity: "interval",
    NodeAlignment: "nodes",
    HeadScale: None,
}


def inside():
    """One recipe of each objective that is no option itself, and one that replays."""
    options = {f"{option.__module__}.{option.__name__}" for option in (*AROUND, RegionAT)}
    kinds = {parts(path)["objective"]["class_path"]: path for path in reversed(RECIPES)}
    chosen = [path for kind, path in kinds.items() if kind not in options]
    return sorted({*chosen, next(path for path in RECIPES if path.stem == "fast_ard")})


@pytest.mark.parametrize("recipe", inside(), ids=lambda path: path.stem)
def test_every_option_at_once_around_every_method(recipe):
    attacks = recipe.stem not in ("natural", "kd", "fast_ard")
    steps = Steps(recipe, around=[*[RegionAT] * attacks, *AROUND])
    torch.manual_seed(0)
    for number in range(2):
        taken = steps(number, images(4, seed=number), labels(4))
        if recipe.stem != "fast_ard":  # of which nobody asks for the terms
            assert {name for name in AROUND.values() if name} < set(taken.terms)
            assert all(term.isfinite().all() for term in taken.terms.values())
    assert all(value.isfinite().all() for value in steps.student.state_dict().values())


@pytest.mark.parametrize("kind", [IGDM, IntervalSensitivity, LessKnown, LIET, NodeAlignment, NormBias, WEISSI])
def test_a_second_term_of_one_name_is_refused(kind):
    """One of the two would be lost."""
    inside, around = ("saad", [IGDM]) if kind is IGDM else ("ard", [kind, kind])
    steps = Steps(next(path for path in RECIPES if path.stem == inside), around=around)
    with user_error(rf'^{kind.__name__} adds a term "\w+", and (SAAD|{kind.__name__}) has one of that name'):
        steps(0, images(4), labels(4))
