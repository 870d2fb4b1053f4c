"""The smallest share of the weights where it is known by hand."""

import copy

import pytest
import torch
from inspected_networks import images, inspected, linear
from tiny import tiny_net
from torch import nn

from ard.diagnostics.base import NotApplicableError
from ard.diagnostics.prunability.prunability import prunability

HOW = ("by magnitude", "at random")


def corners(own, next_one):
    """Four images, each white in one pixel of five, and a network of 20 weights, 12 of them zeros."""
    weight = torch.zeros(4, 5)
    weight[range(4), range(4)] = own
    weight[range(4), [1, 2, 3, 0]] = next_one
    x = torch.cat([torch.eye(4), torch.zeros(4, 1)], dim=1).view(4, 1, 1, 5)
    return inspected(nn.Sequential(nn.Flatten(), bias_free(weight)), x, torch.arange(4))


def bias_free(weight):
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight = nn.Parameter(weight)
    return layer


def test_exact_zeros_are_not_needed_and_the_others_are():
    found = prunability(corners(2.0, -2.0)).values
    assert found["clean loss, by magnitude"] == pytest.approx(0.4)
    assert found["clean loss, at random"] > 0.4
    assert set(found) == {f"{kind} loss, {how}" for kind in ("clean", "robust") for how in HOW}


def test_a_loss_of_nearly_nothing_may_rise_a_little():
    """Without the floor the smaller weights would be needed, although nothing is answered otherwise without them."""
    assert prunability(corners(20.0, -10.0)).values["clean loss, by magnitude"] == pytest.approx(0.2)


def test_a_network_of_zeros_needs_none_of_them():
    x = images()
    found = prunability(inspected(linear(torch.zeros(2, 4)), x, torch.arange(8) % 2))
    assert found.values == pytest.approx({f"clean loss, {how}": 0.05 for how in HOW})
    assert "not above chance" in found.settings["robust loss"]


def test_magnitudes_are_those_behind_a_batch_norm():
    """The first layer 1000 times as large, which its norm takes back: by its raw size it would keep all of its weights."""
    network = tiny_net().eval()
    scaled = copy.deepcopy(network)
    with torch.no_grad():
        scaled[0].weight *= 1000
        scaled[0].bias *= 1000
        scaled[1].running_mean *= 1000
        scaled[1].running_var *= 1e6
    x = images(32, (1, 6, 6))
    y = network(x).argmax(dim=1)
    values = [prunability(inspected(one, x, y)).values["clean loss, by magnitude"] for one in (network, scaled)]
    assert values[0] == values[1] < 1


def test_without_weights_there_is_nothing_to_prune():
    with pytest.raises(NotApplicableError, match="no Conv2d or Linear"):
        prunability(inspected(nn.Flatten(), images(), torch.arange(8) % 4))
