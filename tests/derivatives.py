"""Gradients of losses against central differences, along random directions in the parameters."""

from contextlib import contextmanager

import torch
from tiny import generator

STEP = 1e-5  # of the central differences, whose error is about its square in float64


def assert_close_relative(found, expected, scale):
    """Relative to `scale` where the derivative happens to be tiny along a direction."""
    assert abs(found - expected) <= 1e-5 * max(abs(expected), 1e-3 * scale), (found, expected)


@contextmanager
def playing_back(detached):
    """Every detach() of the block answers with what `detached` has from the first block, and in its order."""
    original, kept = torch.Tensor.detach, iter(detached or ())

    def recorded(tensor):
        detached.append(original(tensor).clone())
        return original(tensor)

    torch.Tensor.detach = (lambda _: original(next(kept))) if detached else recorded
    try:
        yield
    finally:
        torch.Tensor.detach = original


def moving(training_loss, x_adv, parameters, *, only_movers=False):
    """The terms that move the parameters. Their slopes are checked, and unless `only_movers` those of the others to be 0."""
    if not parameters:
        return set()
    home = [parameter.detach().clone() for parameter in parameters]
    gradients = {
        name: torch.autograd.grad(term, parameters, retain_graph=True, materialize_grads=True)
        for name, term in training_loss(x_adv).items()
        if term.ndim == 0
    }
    scales = {name: sum(g.square().sum() for g in gradient).sqrt() for name, gradient in gradients.items()}
    movers = {name for name, scale in scales.items() if scale > 1e-6}  # KL(S(x) ‖ S(x')) is of second order in x' − x
    for direction in directions(parameters):
        ends = []
        for step in (STEP, -STEP):
            with torch.no_grad():
                for parameter, start, d in zip(parameters, home, direction, strict=True):
                    parameter.copy_(start + step * d)
            ends.append(training_loss(x_adv))
        for name in movers if only_movers else gradients:
            slope = sum((g * d).sum() for g, d in zip(gradients[name], direction, strict=True))
            assert_close_relative(slope, (ends[0][name] - ends[1][name]) / (2 * STEP), scales[name])
    return movers


def held_constant(training_loss):
    """What the first call of the training loss detaches stays so in the others."""
    detached = []

    def called(x_adv):
        with playing_back(detached):
            return training_loss(x_adv)

    return called


def directions(tensors, count=3):
    for seed in range(count):
        random = generator(seed)
        yield [torch.randn(t.shape, generator=random, dtype=t.dtype) for t in tensors]
