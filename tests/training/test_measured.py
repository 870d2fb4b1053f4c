"""What every method measures in a step, free: the student's own answers to the attacked images, and how many are right."""

import pytest
import torch
from tiny import generator, images, labels, tiny_net

from ard.attacks import PGD, Linf
from ard.losses import attack_labels
from ard.objectives.base import Objective, Step
from ard.training.step import accuracy, take
from ard.training.weight_perturbation import AWP


class Three(Objective):
    """Asks about clean images, attacked ones, and both at once."""

    def forward(self, student, teacher, x, y):  # noqa: ARG002
        def training_loss(x_adv):
            clean, adv, both = student(x), student(x_adv), student(torch.cat([x, x_adv]))
            return {"ce": sum(self.hard_label(logits, y) for logits in (clean, adv, *both.chunk(2)))}

        return attack_labels(student, y), training_loss


class Together(Three):
    """Asks about both at once alone."""

    def forward(self, student, teacher, x, y):
        attack_loss, _ = super().forward(student, teacher, x, y)
        return attack_loss, lambda x_adv: {"ce": self.hard_label(student(torch.cat([x, x_adv])), y.repeat(2))}


class Unattacked(Three):
    def forward(self, student, teacher, x, y):
        return None, super().forward(student, teacher, x, y)[1]


def taken(student, objective, **options):
    attack = PGD(Linf(eps=0.3), steps=2)
    return take(student, None, objective, attack, images(), labels(), Step(), generator=generator(), **options)


@pytest.mark.parametrize("perturbation", [None, AWP(gamma=0.5)])
def test_the_answers_are_those_to_the_attacked_images_by_the_weights_as_they_were(perturbation):
    student = tiny_net().train()
    found = taken(student, Three(), weight_perturbation=perturbation)
    found.undo()
    assert not found.answers.requires_grad
    assert torch.equal(found.answers, student(found.x_adv))  # in train mode too, from the batch's own statistics
    assert not student._forward_hooks


@pytest.mark.parametrize("objective", [Together(), Unattacked()])
def test_without_such_answers_nothing_is_said(objective):
    assert taken(tiny_net().train(), objective).answers is None


def test_images_without_a_class_do_not_count_and_of_shares_the_largest_does():
    logits = torch.eye(4)
    assert accuracy(logits, torch.tensor([0, 1, 0, 0])) == 0.5
    assert accuracy(logits, torch.tensor([0, 0, -1, -1])) == 0.5
    assert accuracy(logits, torch.full((4,), -1)).isnan()
    assert accuracy(logits, 0.6 * torch.eye(4) + 0.4 * torch.eye(4).roll(1, 0)) == 1
