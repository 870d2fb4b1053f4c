"""An objective holds networks of its own, made where a run that goes on finds them; a mistake is told before training."""

import pytest
import torch
from tiny import run_facts, tiny_net, user_error
from torch import nn

from ard.models import Frozen
from ard.objectives.ard import ARD


class Projecting(ARD):
    """Makes a layer as wide as the teacher says."""

    def setup(self, run):
        self.project = nn.Linear(4, run.num_classes)


class Weighing(ARD):
    """Makes a bare parameter."""

    def setup(self, run):
        self.project = nn.Parameter(torch.ones(run.num_classes))


class Filling(ARD):
    """Puts a layer into a container that was there."""

    def __init__(self):
        super().__init__()
        self.project = nn.ModuleDict()

    def setup(self, run):
        self.project["of the teacher"] = nn.Linear(4, run.num_classes)


class Awaiting(Projecting):
    awaits = ("project",)


class Matching(ARD):
    """Keeps a layer of a network that is lent to it: the student's or the teacher's."""

    def setup(self, run):
        self.hidden = list((run.teacher.networks[0] if self.of_teacher else run.student).children())[-1]


class Listing(ARD):
    """Keeps it in a list, which is no part of the module."""

    def setup(self, run):
        self.hidden = list(run.student.children())[-1:]


def facts():
    return run_facts(teacher=Frozen.of(tiny_net(1)).load(num_classes=4, input_shape=(1, 6, 6)))


@pytest.mark.parametrize("kind", [Projecting, Weighing, Filling])
def test_what_setup_makes_is_awaited_or_no_run_could_be_resumed(kind):
    with user_error(rf'{kind.__name__}.setup made project, .* expected `awaits = \("project",\)` in the class'):
        kind().setup_all(facts())


def test_what_is_awaited_may_be_made_and_is_there_when_the_run_goes_on():
    awaiting = Awaiting()
    for _ in range(2):  # a run that goes on in the same process
        awaiting.setup_all(facts())


@pytest.mark.parametrize("of_teacher", [False, True])
def test_a_part_of_a_lent_network_is_no_attribute(of_teacher):
    matching, lent = Matching(), facts()
    matching.of_teacher = of_teacher
    with user_error(r"Matching.hidden\.\w+ is a parameter of the student or of its teacher"):
        matching.setup_all(lent)
    Listing().setup_all(lent)
