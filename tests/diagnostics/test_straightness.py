"""Straightness where it is known by hand."""

import pytest
import torch
from inspected_networks import images, inspected, linear
from torch import nn

from ard.diagnostics.base import NotApplicableError
from ard.diagnostics.straightness.gradient_gap import gradient_gap

W = torch.tensor([[1.0, -2.0, 0.5, 0.0], [0.0, 1.0, 0.0, -1.0]])
X, Y = images(30), torch.arange(30) % 2


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_a_linear_network_is_straight(scale):
    found = gradient_gap(inspected(linear(scale * W), X, Y))
    assert found.values == {"deviation": pytest.approx(0, abs=2e-3), "deflection": pytest.approx(0, abs=2e-3)}
    assert found.curves["ways"].lines["median"] == pytest.approx(found.curves["ways"].lines["straight"], abs=1e-4)
    assert found.settings == {"points": 129, "pairs": 64}


class Bent(nn.Module):
    """h rises by (x − 1/2)⁺ of the first pixel: level on half of the way from 0 to 1, then steep."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = scale

    def forward(self, x):
        first = self.scale * (x.flatten(1)[:, 0] - 0.5).relu()
        return torch.stack([0 * first, first], dim=1)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_one_bend_by_hand(scale):
    """Slopes are 0 on 64 pieces and 2 on 64: their deviation is 1. One gap of 127 is 2: √(4/127 − (2/127)²)."""
    x = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 2, 2)
    found = gradient_gap(inspected(Bent(scale), x, torch.tensor([0, 1])))
    assert found.values["deflection"] == pytest.approx(1, rel=1e-4)
    assert found.values["deviation"] == pytest.approx((4 / 127 - (2 / 127) ** 2) ** 0.5, rel=1e-4)
    assert found.n == 2


def test_one_class_and_constant_answers_say_nothing():
    with pytest.raises(NotApplicableError, match="one class"):
        gradient_gap(inspected(linear(W), X, 0 * Y))
    with pytest.raises(NotApplicableError, match="the same at both ends"):
        gradient_gap(inspected(linear(0 * W, torch.tensor([1.0, 2.0])), X, Y))
