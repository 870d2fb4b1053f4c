"""Contract: whoever takes one of several words refuses any other, also in Python, where no parser looks at it first."""

from typing import Literal, get_args, get_origin, get_type_hints

import pytest
from image_files import image_folder
from tiny import concrete, tiny_net, user_error

import ard.attacks
import ard.data
import ard.models
import ard.objectives
import ard.training
import ard.training.callbacks
from ard.attacks import PGD, Attack, Linf
from ard.objectives.pgd_at import PGDAT
from ard.training.engine import Engine
from ard.training.schedule import Training

PACKAGES = (ard.attacks, ard.data, ard.models, ard.objectives, ard.training, ard.training.callbacks)
# The engines look at what a recipe says, Lightning at a precision, torch at a padding.
ELSEWHERE = {"Method", "StridedDepthwise", "Trainer"}
NEEDS = {
    "Engine": lambda _: {"threat": Linf(eps=0.1), "attack": PGD, "val_attack": PGD, "training": Training()},
    "ImageFolder": lambda folder: {"root": str(image_folder(folder / "images")), "size": 8},
    "KnownLabels": lambda _: {"base": ard.data.Digits()},
    "Mixed": lambda _: {"base": ard.data.Digits(), "others": "others.npz"},
    "Photos": lambda _: {"root": "photos"},
    "RobustBench": lambda _: {"name": "robust"},
}


def words(annotation):
    """Those of the Literals in it."""
    own = get_args(annotation) if get_origin(annotation) is Literal else ()
    return own or [word for part in get_args(annotation) for word in words(part)]


CHOICES = [
    pytest.param(kind, name, found, id=f"{kind.__name__}.{name}")
    for package in PACKAGES
    for kind in concrete(package, object)
    for name, annotation in get_type_hints(kind.__init__).items()
    if (found := words(annotation)) and kind.__name__ not in ELSEWHERE
]


@pytest.mark.parametrize(("kind", "name", "found"), CHOICES)
def test_a_misspelt_word_is_refused(kind, name, found, tmp_path):
    needs = NEEDS.get(kind.__name__, lambda _: {})(tmp_path)
    needs |= {"ball": Linf(eps=0.1)} if issubclass(kind, Attack) else {}
    needs |= {"student": tiny_net(), "objective": PGDAT()} if issubclass(kind, Engine) else {}
    with user_error(f"^{name} = misspelt: expected one of {', '.join(found)}$"):
        kind(**needs, **{name: "misspelt"})


def test_the_choices_are_found():
    known = {"PGD.start", "Training.schedule", "AWP.restore", "Distillation.clean_pass", "FreeDistillation.clamped"}
    assert known <= {choice.id for choice in CHOICES}


def test_a_mapping_for_the_training_block_is_held_to_the_same():
    with user_error("^schedule = onecycle: expected one of multistep, one_cycle"):
        ard.Distillation(student=tiny_net(), objective="pgd_at", training={"schedule": "onecycle"})
