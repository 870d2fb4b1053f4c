"""Models that are broken on purpose, and the checks that must find each out."""

import torch
from small_runs import digits
from torch import nn
from zoo import EPS, Subject, Through, honest, quickly_trained, undefended

from ard.attacks import Linf
from ard.evaluation.suites import Given


def through(change, network=undefended):
    return lambda: Through(network(), change)


class TrainMode(nn.Module):
    """BatchNorm that does not hear eval()."""

    def __init__(self):
        super().__init__()
        self.network = honest()

    def train(self, mode=True):
        super().train(mode)
        self.network.train()
        return self

    def forward(self, x):
        return self.network(x)


class Counting(nn.Module):
    """Remembers how often it was called, and answers every third call with the next class."""

    def __init__(self):
        super().__init__()
        self.network, self.calls = honest(), 0

    def forward(self, x):
        self.calls += 1
        return self.network(x).roll(int(self.calls % 3 == 0), dims=1)


class Drifting(nn.Module):
    """A parameter that every call moves a little."""

    def __init__(self):
        super().__init__()
        self.network = honest()

    def forward(self, x):
        with torch.no_grad():
            self.network[-1].bias.add_(1e-6)
        return self.network(x)


class Gradient(torch.autograd.Function):
    """x, with a backward pass that puts `change` to its gradient."""

    @staticmethod
    def forward(ctx, x, change):
        ctx.change = change
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return ctx.change(gradient), None


def under_inference_mode(gradient):
    with torch.inference_mode():
        return gradient * 1


def with_gradient(change):
    return lambda network, x: network(Gradient.apply(x, change))


def decoy(network, x):
    """An eleventh class always right behind the first: no untargeted loss sees beyond it."""
    logits = 1000 * network(x)
    return torch.cat([logits, logits.amax(dim=1, keepdim=True) - 1], dim=1)


def by_heart(network, x):
    """Far from every image it knows, it answers with the nearest one's label: a curve that rises again."""
    known, labels = digits(100)
    distance, nearest = (x[:, None] - known).abs().flatten(2).amax(dim=2).min(dim=1)
    told = 10 * nn.functional.one_hot(labels[nearest], 10).float()
    return torch.where((distance > 1.1 * EPS)[:, None], told, network(x))


def optimising(network, x):
    """Cleans its input by a step of gradient descent."""
    with torch.enable_grad():
        inner = x.detach().requires_grad_()
        (step,) = torch.autograd.grad(network(inner).logsumexp(dim=1).sum(), inner)
    return network(x - 0.01 * step.sign())


def in_bfloat16(network, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return network(x)


def switching(network, x):
    network.train()
    return network(x)


def off_the_levels(count):
    x, y = digits(count)
    return 0.999 * x, y


def from_undefended():
    return Given(transfer={"undefended": undefended()})


MODELS = {
    "PGD-AT": Subject(finds="", given=from_undefended, suite="short", n=200),
    "FGSM-AT": Subject(finds="", model=quickly_trained, given=from_undefended, suite="own"),
    "undefended": Subject(finds="", model=undefended, suite="own"),
    "logits times 1000": Subject(finds="O4 O10 O11 O18 M8", model=through(lambda net, x: 1000 * net(x)), suite="short"),
    "saturated": Subject(finds="O3 O4 O10 O11 M8", model=through(lambda net, x: 30 * net(x)), suite="own"),
    "input on four levels": Subject(
        finds="O6 O7 O8 O10 O11 O12",
        model=through(lambda net, x: net((3 * x).round() / 3)),
        given=from_undefended,
        suite="own",
    ),
    "noise at inference": Subject(
        finds="M2 V5 V6", model=through(lambda net, x: net(x + 0.3 * torch.randn_like(x)), honest)
    ),
    "softmax": Subject(finds="M3", model=through(lambda net, x: net(x).softmax(dim=1))),
    "deaf to eval()": Subject(finds="M1 V5 V7", model=TrainMode),
    "switches to train mode": Subject(finds="M1 V5 V7", model=through(switching, honest)),
    "float64": Subject(finds="M4", model=through(lambda net, x: net.double()(x.double()))),
    "bfloat16": Subject(finds="M4", model=through(in_bfloat16)),
    "bfloat16 inside": Subject(finds="M4", model=through(lambda net, x: in_bfloat16(net, x).float())),
    "optimises at inference": Subject(finds="M6", model=through(optimising), suite="all checks"),
    "one class": Subject(finds="O19", model=through(lambda net, x: net(x) + 50 * torch.eye(10)[3]), suite="all checks"),
    "off by one class": Subject(finds="O20", model=through(lambda net, x: net(x).roll(1, dims=1))),
    "pixels off the levels": Subject(finds="M7", data=off_the_levels),
    "NaN logits": Subject(finds="V3", model=through(lambda net, x: net(x).masked_fill(torch.arange(10) == 3, torch.nan))),
    "counts its calls": Subject(finds="M2 V5", model=Counting),
    "other answers in small batches": Subject(
        finds="V5 V6", model=through(lambda net, x: net(x).roll(int(len(x) < 50), dims=1), honest)
    ),
    "drifting parameters": Subject(finds="V7", model=Drifting),
    "a decoy class": Subject(finds="O5 O10 O11", model=through(decoy), suite="own"),
    "by heart": Subject(finds="O9", model=through(by_heart), suite="own"),
    "gradients of another pixel": Subject(
        finds="O6 O7 O8 O13", model=through(with_gradient(lambda g: g.flip(3))), given=from_undefended, suite="own"
    ),
    "backward under inference mode": Subject(finds="M5", model=through(with_gradient(under_inference_mode))),
    "better than its teacher": Subject(finds="O17", given=lambda: Given(teacher_acc=0.3), suite="all checks"),
    "better than the best known": Subject(finds="O17", given=lambda: Given(best_known=0.3), suite="all checks"),
    "far from the published number": Subject(finds="O16", given=lambda: Given(published=0.3), suite="short"),
    "a control that is defended": Subject(finds="O15", given=lambda: Given(undefended=honest()), ball=Linf(eps=0.22)),
    "a control that falls": Subject(finds="", given=lambda: Given(undefended=undefended()), ball=Linf(eps=0.22)),
}
