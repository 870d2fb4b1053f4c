"""CGARD from the paper's formulas, in numpy and float64: the losses, and the joint search step by step."""

import numpy as np
import pytest
import torch
from logit_table import X_ADV, LogitTable, X, Y, assert_loss_and_gradient, kl, pair, softmax
from tiny import generator
from torch import nn

from ard.attacks import PGD, Linf
from ard.objectives.cgard import CGARD

X_FAVOURABLE = (X + 0.3 * (X_ADV.flip(0) - X)).clamp(0, 1)
POINTS = torch.cat([X_ADV, X_FAVOURABLE])
EPS, STEPS, STEP_SIZE = 0.1, 10, 0.025


@pytest.mark.parametrize("alpha", [0.7, 0.2])
def test_the_losses(alpha):
    student, teacher = LogitTable(X_ADV), LogitTable(X, X_ADV, X_FAVOURABLE, seed=1)
    attack_loss, training_loss = pair(CGARD(alpha=alpha), student, teacher)
    _, on_adv, on_favourable = (softmax(logits) for logits in teacher.numbers(3))

    def half_of_the_discrepancy(adv):
        answer = softmax(adv)
        return np.tile((kl(answer, on_favourable) + kl(on_favourable, answer)) / 2 / 2, 2)

    assert_loss_and_gradient(attack_loss(POINTS), half_of_the_discrepancy, student, count=1)
    terms = training_loss(POINTS)
    assert set(terms) == {"kl_adv", "kl_favourable"}
    assert_loss_and_gradient(terms["kl_adv"], lambda adv: alpha * kl(on_adv, softmax(adv)).mean(), student, count=1)
    assert_loss_and_gradient(
        terms["kl_favourable"], lambda adv: (1 - alpha) * kl(on_favourable, softmax(adv)).mean(), student, count=1
    )


class Linear(nn.Module):
    """Logits of a matrix and a bend that makes the way back matter."""

    def __init__(self, seed):
        super().__init__()
        self.matrix = nn.Parameter(torch.from_numpy(np.random.default_rng(seed).normal(size=(36, 4))))

    def forward(self, x):
        return torch.sin(x.flatten(1) @ self.matrix)


def answers(network, x):
    """Probabilities, and how logits move with the image."""
    matrix = network.matrix.detach().numpy()
    z = x @ matrix
    return softmax(np.sin(z)), np.cos(z), matrix


def slope(of_logits, bend, matrix):
    return (of_logits * bend) @ matrix.T


def search(student, teacher, x, y, noise):
    """Equations 8 to 11; also how often a step of the teacher's point was taken back."""
    rows = np.arange(len(x)), y
    most = -np.log(answers(teacher, x)[0][rows])
    adv, favourable, taken_back = np.clip(x + noise[: len(x)], 0, 1), np.clip(x + noise[len(x) :], 0, 1), 0
    for _ in range(STEPS):
        (p, *of_student), (q, *of_teacher) = answers(student, adv), answers(teacher, favourable)
        of_p = (p * (np.log(p / q) - kl(p, q)[:, None]) + (p - q)) / 2  # of the symmetric divergence in the logits
        of_q = (q * (np.log(q / p) - kl(q, p)[:, None]) + (q - p)) / 2
        adv = adv + STEP_SIZE * np.sign(slope(of_p, *of_student))
        favourable = favourable + STEP_SIZE * np.sign(slope(of_q, *of_teacher))
        adv, favourable = (np.clip(np.clip(point, x - EPS, x + EPS), 0, 1) for point in (adv, favourable))
        worse = -np.log(answers(teacher, favourable)[0][rows]) > most
        favourable[worse] = x[worse]
        taken_back += worse.sum()
    return adv, favourable, taken_back


def test_the_search():
    student, teacher = Linear(0), Linear(1)
    attack_loss, _ = pair(CGARD(), student, teacher)
    attack = PGD(Linf(eps=EPS), steps=STEPS, relative_step=STEP_SIZE / EPS, start="gaussian")
    found = attack(attack_loss, X, generator()).flatten(1).numpy()
    noise = 1e-3 * torch.randn(2 * len(X), 1, 6, 6, generator=generator(), dtype=torch.float64).flatten(1).numpy()
    adv, favourable, taken_back = search(student, teacher, X.flatten(1).numpy(), Y.numpy(), noise)
    np.testing.assert_allclose(found, np.concatenate([adv, favourable]), atol=1e-12)
    assert 0 < taken_back < STEPS * len(X)
    assert (np.abs(favourable - X.flatten(1).numpy()).max(axis=1) > 0).any()
