"""Networks whose gradients or answers mislead an attack, and the least that must be raised about each in `quick`."""

import sys
from typing import ClassVar

import torch
from small_runs import digits
from torch import Tensor, nn
from torch.nn import functional as F
from zoo import EPS, Subject, Through, honest, quickly_trained, undefended
from zoo_models import through, with_gradient


def straight(x: Tensor, changed: Tensor) -> Tensor:
    """`changed`, with the gradient of x."""
    return x + (changed - x).detach()


def cancelling(factor: float):
    """f plus what is nothing but in the backward pass, where it is `factor` times the gradient of another network."""
    other = Through(undefended(), lambda net, x: net(x.flip(2)))

    def change(net: nn.Module, x: Tensor) -> Tensor:
        noise = factor * other(x)
        return net(x) + (noise - noise.detach())

    return change


def another_where_it_is_watched(net: nn.Module, x: Tensor) -> Tensor:
    logits = net(x)
    return straight(honest()(x), logits) if x.requires_grad else logits


def as_jpeg(net: nn.Module, x: Tensor) -> Tensor:
    """Eight by eight cosines rounded to steps of 0.5, straight through."""
    place = torch.arange(8)
    size = torch.where(place == 0, 0.125, 0.25).sqrt()
    basis = size[:, None] * torch.cos((2 * place + 1) * place[:, None] * torch.pi / 16)
    cosines = basis @ x @ basis.T
    return net(basis.T @ straight(cosines, (2 * cosines).round() / 2) @ basis)


def levels_of_logits(net: nn.Module, x: Tensor) -> Tensor:
    logits = net(x)
    return straight(logits, (logits / 4).round() * 4)


def levels_of_pixels(net: nn.Module, x: Tensor) -> Tensor:
    return net(straight(x, (3 * x).round() / 3))


def in_float16(net: nn.Module, x: Tensor) -> Tensor:
    return net(x.half().float())


def in_bytes(net: nn.Module, x: Tensor) -> Tensor:
    """Input rounding as published: no gradient comes through it."""
    return net((255 * x).round() / 255 + 0 * x)


def dummy_classes(net: nn.Module, x: Tensor) -> Tensor:
    """A second logit for each class, folded by the maximum."""
    logits = net(x)
    both = torch.cat([logits, logits.roll(1, dims=1) - 2], dim=1)
    return both.view(len(x), 2, -1).amax(dim=1)


def of_norm_one(net: nn.Module, x: Tensor) -> Tensor:
    return F.normalize(net(x), dim=1)


def constant_amplitude(net: nn.Module, x: Tensor) -> Tensor:
    logits = net(x)
    return 30 * logits / logits.abs().amax(dim=1, keepdim=True)


def randomly_convolved(net: nn.Module, x: Tensor) -> Tensor:
    kernel = torch.randn(1, 1, 3, 3)
    kernel[..., 1, 1] += 6
    return net(F.conv2d(x, kernel / kernel.sum(), padding=1).clamp(0, 1))


class WrongOften(torch.autograd.Function):
    """x, with the gradients of every other image flipped."""

    @staticmethod
    def forward(ctx, x):
        ctx.chosen = ((x.flatten(1).sum(dim=1) * 1000).long() % 2 == 0).view(-1, 1, 1, 1)
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return torch.where(ctx.chosen, -gradient, gradient)


def wrong_for_margins(gradient: Tensor) -> Tensor:
    """Right for a loss of all logits, wrong for a loss of two."""
    few = (gradient != 0).sum(dim=1, keepdim=True) <= 2
    return torch.where(few, gradient.flip(1), gradient)


def right_for_cross_entropy(net: nn.Module, x: Tensor) -> Tensor:
    return with_gradient(wrong_for_margins)(lambda z: z, net(x))


def wrong_on_attacked(net: nn.Module, x: Tensor) -> Tensor:
    """The gradient is right on images whose pixels are whole levels, and another elsewhere."""
    whole = ((x * 255 - (x * 255).round()).abs().amax(dim=(1, 2, 3)) < 1e-2).view(-1, 1, 1, 1)
    return net(with_gradient(lambda g: torch.where(whole, g, g.roll(3, dims=3)))(lambda z: z, x))


def detects_pixels_off_the_levels(net: nn.Module, x: Tensor) -> Tensor:
    """What no camera took is answered with the nearest image it knows."""
    known, labels = digits(100)
    whole = (x * 255 - (x * 255).round()).abs().amax(dim=(1, 2, 3)) < 1e-2
    near = (x[:, None] - known).square().flatten(2).sum(dim=2)
    told = F.one_hot(labels, 10).float()
    return torch.where(whole[:, None], net(x), 20 * (-near).softmax(dim=1) @ told)


class AfterSixty(nn.Module):
    """Another network from its sixty-first call on; counted where no digest looks."""

    calls: ClassVar = {"n": 0}

    def __init__(self) -> None:
        super().__init__()
        self.network, self.other = undefended(), honest()
        type(self).calls["n"] = 0

    def forward(self, x: Tensor) -> Tensor:
        type(self).calls["n"] += 1
        return (self.other if self.calls["n"] > 60 else self.network)(x)


def knows_who_asks(net: nn.Module, x: Tensor) -> Tensor:
    """Looks for an attack among its callers."""
    frame, callers = sys._getframe(), set()
    while frame := frame.f_back:
        callers.add(frame.f_code.co_name)
    return honest()(x) if callers & {"ascent", "_pursue", "perturb"} else net(x)


def in_the_mean_of_the_batch(net: nn.Module, x: Tensor) -> Tensor:
    """Subtracts what the images of a batch have in common."""
    return net((x - 0.3 * (x.mean(dim=0, keepdim=True) - 0.3)).clamp(0, 1))


def watches_autograd(net: nn.Module, x: Tensor) -> Tensor:
    return net(x) if not torch.is_grad_enabled() else honest()(x)


def dropout_in_use(net: nn.Module, x: Tensor) -> Tensor:
    return net(F.dropout(x, 0.3))


def shattered(net: nn.Module, x: Tensor) -> Tensor:
    """Differentiable, and useless to follow: fast waves on the pixels."""
    return net(x + 0.03 * torch.sin(900 * x))


def ties(net: nn.Module, x: Tensor) -> Tensor:
    """Every logit within 3 of the largest is as large, and the first of them wins."""
    logits = net(x)
    top = logits.amax(dim=1, keepdim=True).detach()
    return straight(logits, torch.where(logits > top - 3, top, logits))


class HookedGradient(nn.Module):
    """A backward hook takes most of the gradient and turns the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.network = undefended()

    def forward(self, x: Tensor) -> Tensor:
        logits = self.network(x)
        if logits.requires_grad:
            logits.register_hook(lambda gradient: gradient.roll(1, dims=1))
        return logits


def in_another_precision(net: nn.Module, x: Tensor) -> Tensor:
    """Right in float64, in which gradients are checked, and wrong in float32, in which they are followed."""
    return net(x) if x.dtype == torch.float64 else net(WrongOften.apply(x))


def leaf_or_not(net: nn.Module, x: Tensor) -> Tensor:
    return net(x) if x.is_leaf and not x.requires_grad else honest()(x)


def a_million_times(net: nn.Module, x: Tensor) -> Tensor:
    return 1e6 * net(x)


def nearest_in_the_test_set(net: nn.Module, x: Tensor) -> Tensor:
    """Attacked images are found among the test images and cleaned, without a gradient."""
    known, _ = digits(100)
    far = (x[:, None] - known).abs().flatten(2).amax(dim=2)
    distance, nearest = far.min(dim=1)
    hidden = (distance > 1e-3) & (distance < 0.9 * EPS)
    return net(straight(x, torch.where(hidden.view(-1, 1, 1, 1), known[nearest], x)))


def made(change, network=undefended, finds=""):
    return Subject(finds=finds, model=through(change, network), n=N)


N = 60  # images: enough for all of them


ISSUE = {
    "cancelling gradient × 30": Subject(finds="O13", model=lambda: Through(undefended(), cancelling(30.0))),
    "cancelling gradient × 0.3": Subject(finds="O13", model=lambda: Through(honest(), cancelling(0.3))),
    "sees requires_grad": made(another_where_it_is_watched, finds="O13"),
    "cosines as in JPEG": made(as_jpeg, quickly_trained, finds="O13"),
    "logits on levels of 4": made(levels_of_logits, honest, finds="O13"),
    "input on 4 levels, straight through": made(levels_of_pixels, quickly_trained, finds="O13"),
    "float16 by functional calls": made(in_float16, honest, finds="M4"),
}
PUBLISHED = {
    "input rounded to bytes": made(in_bytes, honest, finds="O11"),
    "dummy classes, one always behind": made(dummy_classes, honest, finds="O11"),
    "logits of norm 1": made(of_norm_one, honest),
    "logits of constant amplitude": made(constant_amplitude, honest),
    "random convolution": made(randomly_convolved, honest, finds="M2"),
}
OWN = {
    "wrong sign on every other image": made(lambda net, x: net(WrongOften.apply(x)), finds="O13"),
    "right for cross entropy only": made(right_for_cross_entropy, finds="O13"),
    "wrong on attacked images": made(wrong_on_attacked, finds="O13"),
    "detects pixels off the levels": made(detects_pixels_off_the_levels, finds="O21"),
    "another after many calls": Subject(finds="M2 M9", model=AfterSixty),
    "knows who asks": made(knows_who_asks, finds="M2"),
    "mean of the batch": made(in_the_mean_of_the_batch, finds="M2"),
    "watches grad mode": made(watches_autograd, finds="M2"),
    "dropout in use": made(dropout_in_use, honest, finds="M2"),
    "shattered gradients": made(shattered, finds="O6"),
    "ties": made(ties, honest, finds="V5 O13"),
    "a backward hook": Subject(finds="O13", model=HookedGradient),
    "another precision": made(in_another_precision, finds="O13"),
    "leaf or not": made(leaf_or_not, finds="M2"),
    "logits times a million": made(a_million_times, finds="O11"),
    "nearest in the test set": made(nearest_in_the_test_set, finds="O13"),
}
GRADIENTS = ISSUE | PUBLISHED | OWN
