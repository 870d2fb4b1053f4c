"""AWP around PGD-AT and TRADES from its formula: where the weights go, and the gradient that is descended from there."""

import numpy as np
import pytest
import torch
from answer_table import CLASSES, X_ADV, X, Y, ce, kl
from torch import nn

from ard.attacks import attacking
from ard.objectives.pgd_at import PGDAT
from ard.objectives.trades import TRADES
from ard.training.weight_perturbation import AWP

CLEAN, ADV = (x.flatten(1).numpy() for x in (X, X_ADV))
GAMMA = 0.3


def pgd_at(w):
    return ce(ADV @ w.T).mean()


def trades(w):
    return ce(CLEAN @ w.T).mean() + 6 * kl(CLEAN @ w.T, ADV @ w.T).mean()


def slopes(loss, w):
    """The gradient by central differences."""
    found = np.zeros_like(w)
    for place in np.ndindex(w.shape):
        step = np.zeros_like(w)
        step[place] = 1e-6
        found[place] = (loss(w + step) - loss(w - step)) / 2e-6
    return found


@pytest.mark.parametrize(("objective", "loss"), [(PGDAT(), pgd_at), (TRADES(), trades)], ids=["pgd_at", "trades"])
def test_it_descends_the_gradient_at_the_perturbed_weights(objective, loss):
    student = nn.Sequential(nn.Flatten(), nn.Linear(CLEAN.shape[1], CLASSES, bias=False)).double()
    weight = student[1].weight
    with torch.no_grad():
        weight.copy_(torch.linspace(-0.4, 0.4, weight.numel()).view_as(weight).sin())
    home = weight.detach().numpy().copy()
    with attacking(student, objective):
        _, training_loss = objective(student, None, X, Y)

    def total():
        return sum(training_loss(X_ADV).values())

    restore = AWP(gamma=GAMMA)(student, total)
    upwards = slopes(loss, home)
    there = home + GAMMA * np.linalg.norm(home) * upwards / np.linalg.norm(upwards)
    np.testing.assert_allclose(weight.detach().numpy(), there, rtol=1e-6, atol=1e-8)
    reached = total()
    assert reached.item() == pytest.approx(loss(there), rel=1e-6)
    reached.backward()
    np.testing.assert_allclose(weight.grad.numpy(), slopes(loss, there), rtol=1e-5, atol=1e-8)
    assert np.linalg.norm(weight.grad.numpy() - upwards) > 0.02 * np.linalg.norm(upwards)  # not the gradient at home
    restore()
    assert np.array_equal(weight.detach().numpy(), home)


@pytest.mark.parametrize("restore", ["before_step", "after_step"])
def test_sgd_with_momentum_and_decay_in_closed_form(restore):
    """As released w ← step(w + v) − v, so what decays is w + v; else w ← step(w); g is the gradient at w + v in both."""
    rate, momentum, decay = 0.1, 0.9, 0.3
    student = nn.Sequential(nn.Flatten(), nn.Linear(CLEAN.shape[1], CLASSES, bias=False)).double()
    weight = student[1].weight
    optimizer = torch.optim.SGD(student.parameters(), lr=rate, momentum=momentum, weight_decay=decay)
    w, velocity = weight.detach().numpy().copy(), 0.0
    for _ in range(3):
        undo = AWP(gamma=GAMMA, restore=restore)(student, lambda: nn.functional.cross_entropy(student(X_ADV), Y))
        optimizer.zero_grad()
        nn.functional.cross_entropy(student(X_ADV), Y).backward()
        for move in (undo, optimizer.step) if restore == "before_step" else (optimizer.step, undo):
            move()
        upwards = slopes(pgd_at, w)
        v = GAMMA * np.linalg.norm(w) * upwards / np.linalg.norm(upwards)
        velocity = momentum * velocity + slopes(pgd_at, w + v) + decay * (w + v if restore == "after_step" else w)
        w = w - rate * velocity
        np.testing.assert_allclose(weight.detach().numpy(), w, rtol=1e-5, atol=1e-8)
    assert decay * rate * np.linalg.norm(v) > 1e-3  # else the two would be one


def test_a_step_that_is_left_out_leaves_the_same_bits():
    student = nn.Linear(7, 3)
    home = student.weight.detach().clone()
    undo = AWP(gamma=GAMMA, restore="after_step")(student, lambda: student(torch.ones(2, 7)).square().sum())
    assert not torch.equal(student.weight, home)
    undo()
    assert torch.equal(student.weight, home)
