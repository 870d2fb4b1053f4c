"""The values of the sensitivity diagnostics where they are known by hand."""

import pytest
import torch
from inspected_networks import images, inspected, linear

from ard.attacks import L2
from ard.diagnostics.base import NotApplicableError
from ard.diagnostics.sensitivity.first_order_distance import first_order_distance
from ard.diagnostics.sensitivity.output_sensitivity import output_sensitivity
from ard.diagnostics.sensitivity.relative_output_sensitivity import relative_output_sensitivity
from ard.diagnostics.sensitivity.softmax_jacobian import softmax_jacobian

W = torch.tensor([[1.0, -2.0, 0.5, 0.0], [0.0, 1.0, 0.0, -1.0]])
THREE = torch.tensor([[1.0, -2.0, 0.5, 0.0], [0.0, 1.0, 0.0, -1.0], [2.0, 0.0, 0.0, 1.0]])


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_first_order_distance_of_a_linear_network_is_that_to_its_boundary(scale):
    x, y = images(9), torch.zeros(9, dtype=torch.long)
    m = (x.flatten(1) @ (W[0] - W[1])).double()
    found = first_order_distance(inspected(linear(scale * W), x, y))
    assert found.values["median"] == pytest.approx(float((m / (W[0] - W[1]).abs().sum()).median()), rel=1e-5)
    share = ((m / (W[0] - W[1]).abs().sum()) >= 0.1).double().mean()
    assert found.values["share beyond eps"] == float(share)


def test_first_order_distance_uses_the_dual_norm_of_the_ball():
    x, y = images(9), torch.zeros(9, dtype=torch.long)
    of = inspected(linear(W), x, y)
    of.ball = L2(0.1)
    m = (x.flatten(1) @ (W[0] - W[1])).double()
    assert first_order_distance(of).values["median"] == pytest.approx(float((m / (W[0] - W[1]).norm()).median()), rel=1e-5)


def test_a_constant_network_has_no_distance():
    with pytest.raises(NotApplicableError, match="no gradient"):
        first_order_distance(inspected(linear(0 * W), images(), torch.zeros(8, dtype=torch.long)))


def test_relative_output_sensitivity_ignores_the_scale_of_the_logits_and_is_zero_for_a_constant():
    x, y = images(64), torch.zeros(64, dtype=torch.long)
    values = [relative_output_sensitivity(inspected(linear(s * W), x, y)).values for s in (1.0, 100.0, 0.0)]
    assert values[0]["relative output sensitivity"] == pytest.approx(values[1]["relative output sensitivity"], rel=1e-4)
    assert values[2]["relative output sensitivity"] == 0


def test_relative_output_sensitivity_of_a_linear_network_by_hand():
    """The mean over signs n of ‖C W n‖² eps² is eps² ‖C W‖_F², C taking off the mean over classes."""
    x, y = images(4096), torch.zeros(4096, dtype=torch.long)
    centred = THREE - THREE.mean(dim=0)
    z = x.flatten(1) @ centred.T
    expected = 0.01 * centred.square().sum() / (z - z.mean(dim=0)).square().sum(dim=1).mean()
    found = relative_output_sensitivity(inspected(linear(THREE), x, y)).values
    assert found["relative output sensitivity"] == pytest.approx(float(expected), rel=0.05)


def test_output_sensitivity_as_published_of_a_linear_network():
    x, y = images(20000), torch.zeros(20000, dtype=torch.long)
    expected = 0.01 * float(THREE.mean(dim=0).square().sum())
    assert output_sensitivity(inspected(linear(THREE), x, y)).values["output sensitivity"] == pytest.approx(
        expected, rel=0.05
    )


def test_output_sensitivity_as_published_is_blind_where_rows_sum_to_zero():
    opposite = torch.stack([W[0], -W[0]])
    values = output_sensitivity(inspected(linear(opposite), images(64), torch.zeros(64, dtype=torch.long))).values
    assert values["output sensitivity"] < 1e-12


def test_softmax_jacobian_exactly_and_by_signs():
    x, y = images(2048), torch.zeros(2048, dtype=torch.long)
    p = (x.flatten(1) @ THREE.T).softmax(dim=1)
    by_hand = (torch.diag_embed(p) - p[:, :, None] * p[:, None, :]) @ THREE
    expected = float(by_hand.flatten(1).norm(dim=1).mean())
    exact = softmax_jacobian(inspected(linear(THREE), x, y, exact=True))
    assert exact.values["mean norm"] == pytest.approx(expected, rel=1e-4)
    sampled = softmax_jacobian(inspected(linear(THREE), x, y)).values["mean norm"]
    assert 0.85 * expected < sampled < 1.02 * expected
