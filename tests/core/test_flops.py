"""ard.core.flops: against arithmetic done by hand."""

import torch
from torch import nn

from ard.core.flops import count_flops


def test_a_convolution_a_grouped_one_and_a_linear_layer_forward_and_backward():
    conv, depthwise, linear = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Linear(8, 5)
    x = torch.rand(2, 3, 6, 6, requires_grad=True)

    def forward():
        return linear(depthwise(conv(x)).mean(dim=(2, 3)))

    positions = 2 * 36
    once = 2 * (positions * 8 * 27 + positions * 8 * 9 + 2 * 8 * 5)
    assert count_flops(forward) == once
    assert count_flops(lambda: torch.autograd.grad(forward().sum(), x)) == 2 * once  # input gradients alone cost a forward
    assert count_flops(lambda: forward().sum().backward()) == 3 * once


def test_autograd_inside_the_counted_call_is_no_trouble():
    conv, x = nn.Conv2d(1, 1, 1), torch.rand(1, 1, 2, 2)

    def call():
        pixels = x.clone().requires_grad_()
        return torch.autograd.grad(conv(pixels).sum(), pixels)

    assert count_flops(call) == 2 * (2 * 4)
