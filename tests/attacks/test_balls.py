"""The steepest direction of a ball, and radii that are none."""

import math

import pytest
import torch
from test_attacks import ball_of, every_ball
from tiny import generator, user_error

from ard.attacks import L2, Linf


@every_ball
@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1.0, 1e10, 1e30])
def test_the_steepest_direction_has_norm_one_whatever_the_gradients_scale(ball, scale):
    gradient = scale * torch.randn(4, 1, 6, 6, generator=generator())
    torch.testing.assert_close(ball_of(ball).distance(ball_of(ball).steepest(gradient)), torch.ones(4))


@every_ball
def test_no_gradient_no_step(ball):
    assert torch.equal(ball_of(ball).steepest(torch.zeros(2, 1, 6, 6)), torch.zeros(2, 1, 6, 6))


@pytest.mark.parametrize(("eps", "found"), [(8, "8"), (255, "255"), (math.nan, "nan"), (-0.1, "-0.1")])
def test_impossible_radii_are_refused(eps, found):
    with user_error(f"eps = {found}: .*(pixels are in \\[0, 1\\].*{found}/255|at least 0)"):
        Linf(eps=eps)


def test_a_radius_of_linf_under_l2_is_doubted():
    """8/255 under L2 is a sixteenth of the usual radius: whatever is trained so is not robust, and looks as if it were."""
    assert L2(eps="8/255").doubt.startswith("L2 eps 8/255 is as good as none")
    assert [ball.doubt for ball in (L2(0), L2(0.1), L2("128/255"), Linf("8/255"))] == [""] * 4
