"""A pass of clean images that BatchNorm alone sees, before or after the loss: what moves, and what does not."""

import numpy as np
import pytest
import torch
from tiny import generator, images, labels, tiny_net
from torch import nn

from ard.attacks import PGD, Linf
from ard.objectives.base import Step
from ard.objectives.pgd_at import PGDAT
from ard.training.step import show_clean, take

PLACES = [None, "before_loss", "after_loss"]


def taken(student, clean_pass, **options):
    attack = PGD(Linf(eps=0.3), steps=2)
    return take(
        student, None, PGDAT(), attack, images(), labels(), Step(), generator=generator(), clean_pass=clean_pass, **options
    )


def moved(mean, var, seen):
    """BatchNorm's statistics after it has seen these tensors (N, C, H, W), of the usual momentum, in NumPy."""
    for x in seen:
        by_channel = np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)
        mean = 0.9 * mean + 0.1 * by_channel.mean(axis=1)
        var = 0.9 * var + 0.1 * by_channel.var(axis=1, ddof=1)
    return mean, var


@pytest.mark.parametrize("clean_pass", PLACES)
def test_the_statistics_are_those_of_the_passes_in_their_order(clean_pass):
    student = tiny_net().train()
    conv, norm = student[0], student[1]
    before, count = (
        [value.numpy().copy() for value in (norm.running_mean, norm.running_var)],
        norm.num_batches_tracked.item(),
    )
    found = taken(student, clean_pass)
    with torch.no_grad():
        clean, adv = (conv(x).numpy() for x in (images(), found.x_adv))
    seen = {None: [adv], "before_loss": [clean, adv], "after_loss": [adv, clean]}[clean_pass]
    mean, var = moved(*before, seen)
    np.testing.assert_allclose(norm.running_mean, mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(norm.running_var, var, rtol=1e-5, atol=1e-6)
    assert norm.num_batches_tracked.item() == count + len(seen)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("clean_pass", PLACES[1:])
def test_nothing_else_changes_by_a_bit(clean_pass, autocast):
    """Images, gradients, dropout's draws and those that follow; under autocast no cast without gradient is remembered."""

    def step(place):
        student = nn.Sequential(tiny_net(), nn.Dropout(0.5)).train()
        torch.manual_seed(5)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            found = taken(student, place)
        found.loss.backward()
        gradients = [parameter.grad for parameter in student.parameters()]
        return [found.x_adv, found.answers, found.loss.detach(), torch.rand(1), *gradients]

    assert all(torch.equal(ours, theirs) for ours, theirs in zip(step(clean_pass), step(None), strict=True))


def test_a_pass_leaves_no_graph_and_needs_no_gradient():
    student = tiny_net().train()
    heard = []
    student.register_forward_hook(lambda _, __, output: heard.append(output.requires_grad))
    show_clean(student, images())
    assert heard == [False]
