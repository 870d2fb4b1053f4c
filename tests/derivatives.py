"""Gradients of losses against central differences, along random directions in the parameters."""

from contextlib import contextmanager

import torch
from tiny import generator

STEP = 1e-4  # of the central differences, in float64
NEAR = 1e-14  # some units in the last place of a parameter: the loss moves by less than it is rounded


def assert_slope(found, quotient, scale):
    """Relative to `scale` where the derivative happens to be tiny along a direction; on top of what rounding may do."""
    expected, rounding = quotient
    assert rounding <= 1e-3 * scale, f"rounding by {rounding} would hide a wrong gradient of {scale}"
    assert abs(found - expected) <= rounding + 1e-5 * max(abs(expected), 1e-3 * scale), (found, expected, rounding)


def quotients(at):
    """For each number that at(t) names: its slope at t = 0, and a bound of what rounding does to that.

    Richardson's: from steps h and 2h together the error is of order h⁴ and the same on every CPU, so that h need not be
    small. What rounding does differs from CPU to CPU and does not follow from a loss's size: a KL of 1e-5 is what is left
    of terms of 1, times a temperature's square. So it is seen how far values lie apart that only rounding parts.
    Values off by d move the slope by at most 1.5 d / h; d is taken as twice the distance seen, since few are looked at.
    """
    far = {k: at(k * STEP) for k in (-2, -1, 1, 2)}
    near = [at(k * NEAR) for k in range(-4, 5)]
    found = {}
    for name in near[0]:
        once, twice = ((far[k][name] - far[-k][name]) / (2 * k * STEP) for k in (1, 2))
        values = [value[name] for value in near]
        found[name] = (4 * once - twice) / 3, 3 * (max(values) - min(values)) / STEP
    return found


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
    gradients = {
        name: torch.autograd.grad(term, parameters, retain_graph=True, materialize_grads=True)
        for name, term in training_loss(x_adv).items()
        if term.ndim == 0
    }
    scales = {name: sum(g.square().sum() for g in gradient).sqrt() for name, gradient in gradients.items()}
    movers = {name for name, scale in scales.items() if scale > 1e-6}  # KL(S(x) ‖ S(x')) is of second order in x' − x
    for direction in directions(parameters):
        found = quotients(along(direction, parameters, lambda: numbers(training_loss(x_adv))))
        for name in movers if only_movers else gradients:
            slope = sum((g * d).sum() for g, d in zip(gradients[name], direction, strict=True))
            assert_slope(slope.item(), found[name], scales[name].item())
    return movers


def numbers(terms):
    return {name: term.item() for name, term in terms.items() if term.ndim == 0}


def along(direction, parameters, value):
    """t -> what value() is with the parameters at their place + t * direction; they are put back."""
    home = [parameter.detach().clone() for parameter in parameters]

    def at(t):
        with torch.no_grad():
            for parameter, start, d in zip(parameters, home, direction, strict=True):
                parameter.copy_(start + t * d)
        found = value()
        with torch.no_grad():
            for parameter, start in zip(parameters, home, strict=True):
                parameter.copy_(start)
        return found

    return at


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
