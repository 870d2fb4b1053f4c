"""What diagnostics look at in the tests: small networks whose numbers are known."""

import torch
from torch import nn

from ard.attacks import Linf
from ard.diagnostics.inspected import Inspected


def linear(weight, bias=None):
    """f(x) = W x + b on images of shape (1, 2, 2), W (classes, 4)."""
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(torch.zeros(len(weight)) if bias is None else bias)
    return nn.Sequential(nn.Flatten(), layer)


def images(n=8, shape=(1, 2, 2), seed=0):
    """(n, *shape) away from 0 and 1, so that no ball of the tests is cut off."""
    return 0.4 + 0.2 * torch.rand((n, *shape), generator=torch.Generator().manual_seed(seed))


def inspected(student, x, y, eps=0.1, **more):
    """Of a network in eval mode."""
    return Inspected(student=student.eval(), x=x, y=y, ball=Linf(eps), **more)
