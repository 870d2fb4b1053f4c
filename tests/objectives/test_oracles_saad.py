"""SAAD written out a second time, in numpy and float64; the teacher is a small network with derivatives by hand."""

import numpy as np
import pytest
import torch
from logit_table import ROWS, X_ADV, LogitTable, X, Y, assert_loss_and_gradient, kl, pair, softmax

from ard.objectives.base import Step
from ard.objectives.saad import SAAD

OPPOSITE = 2 * X - X_ADV
FIRST, SECOND = (np.random.default_rng(seed).normal(size=shape) / 2 for seed, shape in ((0, (36, 5)), (1, (5, 4))))


class Teacher(torch.nn.Module):
    def forward(self, x):
        return torch.tanh(x.flatten(1) @ torch.from_numpy(FIRST)) @ torch.from_numpy(SECOND)


def teacher(x):
    return np.tanh(x.flatten(1).numpy() @ FIRST) @ SECOND


def linearised(x_adv):
    hidden = np.tanh(X.flatten(1).numpy() @ FIRST)
    slopes = ((1 - hidden**2) * SECOND[:, Y.numpy()].T) @ FIRST.T  # of the true logit in every pixel
    target = teacher(X)
    target[ROWS] += (slopes * (x_adv - X).flatten(1).numpy()).sum(axis=1)
    return target


def entropies():
    p = softmax(teacher(X_ADV))
    return -(p * np.log(p)).sum(axis=1)


@pytest.mark.parametrize(("alpha", "beta", "sharpness"), [(1.0, 0.0, 5.0), (10.0, 0.7, 2.0)])
def test_saad(alpha, beta, sharpness):
    student, objective = LogitTable(X, X_ADV, OPPOSITE), SAAD(alpha=alpha, beta=beta, sharpness=sharpness)
    objective.begin(Step(progress=0.25))
    attack_loss, training_loss = pair(objective, student, Teacher())
    target, spread = teacher(X_ADV), entropies() - entropies().min()
    change, weights = target - teacher(OPPOSITE), sharpness * spread
    formulas = {
        "kl": lambda _, adv, __: (weights * kl(softmax(target), softmax(adv))).mean(),
        "igdm": lambda _, adv, opposite: alpha * 0.25 * (weights * kl(softmax(change), softmax(adv - opposite))).mean(),
        "kl_clean": lambda clean, *_: beta * ((1 - spread / spread.max()) * kl(softmax(teacher(X)), softmax(clean))).mean(),
    }
    terms = training_loss(X_ADV)
    assert set(terms) == {"kl", "igdm"} | ({"kl_clean"} if beta else set())
    for name, term in terms.items():
        assert_loss_and_gradient(term, formulas[name], student, count=3)
    of_attack = softmax(linearised(X_ADV))
    assert_loss_and_gradient(attack_loss(X_ADV), lambda _, adv, __: kl(of_attack, softmax(adv)), student, count=3)


def without_weights():
    """A network that answers the same everywhere."""
    same = torch.nn.Linear(36, 4).double()
    torch.nn.init.zeros_(same.weight)
    return torch.nn.Sequential(torch.nn.Flatten(), same)


def test_the_attack_climbs_the_teachers_slope():
    """Central differences of the linearised teacher, against a student that answers the same everywhere."""
    student = without_weights()
    attack_loss, _ = pair(SAAD(), student, Teacher())
    x_adv, direction = X_ADV.clone().requires_grad_(), X - X_ADV.flip(0)
    (found,) = torch.autograd.grad(attack_loss(x_adv).sum(), x_adv)
    answer = softmax(student[1].bias.detach().numpy()[None])
    ends = [kl(softmax(linearised(X_ADV + step * direction)), answer).sum() for step in (1e-6, -1e-6)]
    assert (found * direction).sum().item() == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6)


def test_the_gradient_difference_counts_for_nothing_at_first():
    terms = pair(SAAD(), LogitTable(X, X_ADV, OPPOSITE), Teacher())[1](X_ADV)
    assert terms["igdm"] == 0
    assert terms["kl"] > 0


def test_equal_entropies_weigh_nothing_and_stay_finite():
    teacher, student = without_weights(), LogitTable(X, X_ADV, OPPOSITE)
    terms = pair(SAAD(beta=1.0), student, teacher)[1](X_ADV)
    assert terms["kl"] == 0
    expected = kl(softmax(teacher(X).detach().numpy()), softmax(student.numbers(3)[0])).mean()
    assert terms["kl_clean"].item() == pytest.approx(expected)
