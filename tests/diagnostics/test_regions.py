"""The universal perturbation where it is known by hand."""

import pytest
import torch
from inspected_networks import images, inspected, linear

from ard.attacks import L2
from ard.diagnostics.base import NotApplicableError
from ard.diagnostics.regions.universal_perturbation import universal_perturbation

W = torch.tensor([[1.0, -2.0, 0.5, 0.0], [0.0, 1.0, 0.0, -1.0]])
X, Y = images(80), torch.arange(80) % 2


def test_of_a_linear_network_of_two_classes_it_is_the_sign_of_the_difference():
    """The bias keeps it from fooling, so that it goes on to the end."""
    found = universal_perturbation(inspected(linear(W, torch.tensor([0.0, 40])), X, Y))
    expected = 0.5 + (W[0] - W[1]).sign().view(1, 2, 2) / 2
    assert torch.allclose(found.pictures["class 0"], expected)
    assert found.values["mean rate"] == found.values["mean rate without"] == 0.5  # all are called class 1


def test_for_l2_it_is_the_difference_of_length_eps():
    of = inspected(linear(W, torch.tensor([0.0, 40])), X, Y)
    of.ball = L2(0.1)
    difference = (W[0] - W[1]).view(1, 2, 2)
    expected = 0.5 + difference / (2 * difference.abs().max())
    assert torch.allclose(universal_perturbation(of).pictures["class 0"], expected, atol=1e-5)


def test_its_rate_is_that_of_the_linear_network_on_the_other_images():
    """m = (w_0 − w_1) x; with v_0 it grows by eps ‖w_0 − w_1‖₁, and for class 1 it falls by as much."""
    found = universal_perturbation(inspected(linear(W, torch.tensor([0.0, -0.25])), X, Y, eps=0.01))
    order = torch.randperm(80, generator=inspected(linear(W), X, Y).generator("universal"))
    rest = order[8:]
    m, reach = X[rest].flatten(1) @ (W[0] - W[1]) + 0.25, 0.01 * float((W[0] - W[1]).abs().sum())
    to_0 = (m + reach > 0)[Y[rest] == 1].double().mean()
    to_1 = (m - reach < 0)[Y[rest] == 0].double().mean()
    assert found.curves["rates"].lines["with the perturbation"] == pytest.approx((float(to_0), float(to_1)))
    assert found.values["mean rate"] == pytest.approx(float(to_0 + to_1) / 2)
    assert found.values["largest rate"] == pytest.approx(float(max(to_0, to_1)))
    assert found.values["mean rate without"] < found.values["mean rate"]
    assert found.n == 72


def test_with_many_classes_ten_are_looked_at_unless_it_should_be_exact():
    x, y = images(60), torch.arange(60) % 30
    network = linear(torch.randn(30, 4, generator=torch.Generator().manual_seed(0)))
    assert universal_perturbation(inspected(network, x, y)).settings["classes"] == 10
    assert universal_perturbation(inspected(network, x, y, exact=True)).settings["classes"] == 30


def test_too_few_images():
    with pytest.raises(NotApplicableError, match="2 images are too few"):
        universal_perturbation(inspected(linear(W), X[:2], Y[:2]))
