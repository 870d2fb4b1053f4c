"""A number out of range is refused by the name of its option, whichever class has it."""

from inspect import signature

import pytest
from image_files import image_folder
from tiny import concrete, user_error
from torch import nn

import ard.attacks
import ard.data
import ard.models
from ard.attacks import Attack, Ball, Linf
from ard.core.radius import Radius
from ard.data import DataModule, Digits, ImageFolder
from ard.training.callbacks.guards import Guards
from ard.training.schedule import Training
from ard.training.weight_perturbation import AWP

# Images so large that the folder's would not fit into memory, since only then the workers count.
REQUIRED = {
    "ball": Linf(eps=0.1),
    "base": Digits(),
    "eps": 0.1,
    "num_classes": 10,
    "lr": 0.1,
    "others": "",
    "name": "",
    "size": 8,
}
LATER = {"num_classes", "val_size"}  # nobody types the one; only the images tell how many the other may be
PUBLIC = {
    kind
    for package, parent in ((ard.attacks, Attack), (ard.attacks, Ball), (ard.data, DataModule), (ard.models, nn.Module))
    for kind in concrete(package, parent)
    if kind.__name__ in package.__all__
}
NUMBERS = [
    pytest.param(kind, name, id=f"{kind.__name__}.{name}")
    for kind in sorted({*PUBLIC, AWP, Guards, Training}, key=lambda kind: kind.__name__)
    for name, parameter in signature(kind).parameters.items()
    if parameter.annotation in (int, float, Radius, "int", "float", float | None) and name not in LATER
]


@pytest.mark.parametrize(("kind", "name"), NUMBERS)
def test_a_negative_number_is_refused_by_its_name(kind, name, tmp_path):
    given = {**REQUIRED, "root": str(image_folder(tmp_path, per_class=2))} if issubclass(kind, ImageFolder) else REQUIRED
    required = {key: given[key] for key, p in signature(kind).parameters.items() if p.default is p.empty}
    with user_error(rf"\b{name} = -1"):
        kind(**{**required, name: -1})


def test_the_classes_are_found():
    assert {"PGD", "Linf", "CIFAR10", "ResNet"} <= {kind.__name__ for kind in PUBLIC}
    assert len(NUMBERS) > 40
