"""A network whose answers are no numbers is found out, also where only the largest logit is looked at."""

import math

import pytest
import torch
from inspected_networks import images, inspected
from tiny import tiny_net, user_error
from torch import nn

from ard.diagnostics.diagnosing import diagnose_images
from ard.diagnostics.names import named
from ard.models.combined_teachers import Ensemble
from ard.models.frozen import Frozen

ASKING = ["agreement", "class_alignment", "gradient_gap", "certified_bounds", "linear_cka", "nearest_category"]
INSIDE = ["weights", "landscape", "prunability", "training"]
OF_TEACHERS = ["agreement", "linear_cka", "nearest_category", "node_correlation"]
X, Y = images(12, (1, 6, 6)), torch.arange(12) % 4


def broken():
    network = tiny_net()
    nn.init.constant_(network[0].weight, math.nan)
    return network.eval()


@pytest.mark.parametrize("name", [*ASKING, *named(INSIDE), "node_correlation", "universal_perturbation"])
def test_of_a_student(name):
    with user_error("finite"):
        diagnose_images(inspected(broken(), X, Y, teacher=tiny_net(1).eval()), [name])


@pytest.mark.parametrize("name", OF_TEACHERS)
def test_of_a_teacher(name):
    with user_error("finite"):
        diagnose_images(inspected(tiny_net(1), X, Y, teacher=broken()), [name])


def test_of_one_of_several_teachers():
    teacher = Ensemble(members=[Frozen.of(tiny_net(1)), Frozen.of(broken())])
    with user_error("finite"):
        of = inspected(tiny_net(2), X, Y, teacher=teacher.load(num_classes=4, input_shape=(1, 6, 6)))
        diagnose_images(of, ["gradient_cancellation"])
