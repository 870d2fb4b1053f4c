"""The comparison with difference quotients finds a wrong gradient, small as it may be, and takes no rounding for one."""

import pytest
import torch
import torch.nn.functional as F
from derivatives import assert_slope, moving
from tiny import generator, images, tiny_net
from torch import nn


class Backward(torch.autograd.Function):
    """x, with a gradient that is off by a factor."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return ctx.factor * gradient, None


def training_loss(net, factor=1.0, noise=0.0):
    """A KL of 1e-5, as of an image and the attacked one; `noise`: of the last places of what it is made of."""
    x, random = images().double(), generator()

    def kl(x_adv):
        logits, moved = net(x).log_softmax(dim=1), net(x_adv).log_softmax(dim=1)
        value = F.kl_div(moved, logits, reduction="batchmean", log_target=True)
        return {"kl": Backward.apply(value, factor) + noise * torch.rand((), generator=random, dtype=value.dtype)}

    return kl


def compared(**options):
    net = tiny_net(0, activation=nn.Softplus).double().eval()
    x_adv = images().double() + 0.01 * images(seed=1).double()
    assert training_loss(net)(x_adv)["kl"] < 1e-4
    return moving(training_loss(net, **options), x_adv, list(net.parameters()))


def test_a_right_gradient_passes():
    assert compared() == {"kl"}


@pytest.mark.parametrize("factor", [1.001, 0.999, -1.0, 0.0])
def test_a_wrong_one_is_found(factor):
    with pytest.raises(AssertionError):
        compared(factor=factor)


@pytest.mark.parametrize("noise", [4e-16, 4e-15])
def test_the_rounding_of_another_cpu_is_no_wrong_gradient(noise):
    assert compared(noise=noise) == {"kl"}
    with pytest.raises(AssertionError):
        compared(noise=noise, factor=1.01)


def test_rounding_that_hides_everything_is_found():
    with pytest.raises(AssertionError, match="would hide a wrong gradient"):
        assert_slope(1.0, (1.0, 0.1), 1.0)
    with pytest.raises(AssertionError, match="would hide a wrong gradient"):
        compared(noise=1e-8)
