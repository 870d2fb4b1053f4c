"""Gradient cancellation where it is known by hand."""

import pytest
import torch
from inspected_networks import images, inspected, linear

from ard.diagnostics.base import NotApplicableError
from ard.diagnostics.ensembles.gradient_cancellation import gradient_cancellation
from ard.models.combined_teachers import Ensemble
from ard.models.frozen import Frozen

W = torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 0]])
ACROSS = torch.tensor([[0, 1.0, 0, 0], [0, 0, 0, 0]])
X, Y = torch.zeros(5, 1, 2, 2), torch.arange(5) % 2  # black: every network is undecided, so that each gradient is half of W


def cancelled(*weights, x=X, y=Y):
    members = [Frozen.of(linear(weight)) for weight in weights]
    teacher = Ensemble(members=members).load(num_classes=2, input_shape=(1, 2, 2))
    return gradient_cancellation(inspected(linear(W), x, y, teacher=teacher))


@pytest.mark.parametrize(
    ("weights", "left"),
    [((W, W), 1), ((W, -W), 0), ((W, ACROSS), 0.5**0.5), ((W, W, -W), 1 / 3), ((W, 3 * W), 1), ((3 * W, -W), 0.5)],
)
def test_what_is_left_of_equal_opposite_and_orthogonal_gradients(weights, left):
    found = cancelled(*weights)
    assert found.values["mean"] == found.values["median"] == pytest.approx(left, abs=1e-6)
    assert found.settings["members"] == len(weights)


def test_equal_members_are_equal_everywhere():
    assert cancelled(W, W, x=images(6), y=torch.arange(6) % 2).values["10th percentile"] == pytest.approx(1)


def test_members_without_a_gradient_and_a_single_teacher_say_nothing():
    with pytest.raises(NotApplicableError, match="no member has a gradient"):
        cancelled(0 * W, 0 * W)
    with pytest.raises(NotApplicableError, match="comma-separated"):
        gradient_cancellation(inspected(linear(W), X, Y, teacher=linear(W)))
