"""MART written out a second time, in numpy and float64."""

import numpy as np
import pytest
import torch
from logit_table import ROWS, X_ADV, LogitTable, X, Y, assert_loss_and_gradient, ce, kl, pair, softmax

from ard.objectives.base import Step
from ard.objectives.mart import MART


def wrong(_, adv):
    p = softmax(adv)
    p[ROWS] = 0
    return -np.log(1 - p.max(axis=1)).mean()


@pytest.mark.parametrize("beta", [5.0, 2.0])
def test_mart(beta):
    student = LogitTable(X, X_ADV)
    attack_loss, training_loss = pair(MART(beta=beta), student)
    assert_loss_and_gradient(attack_loss(X_ADV), lambda _, adv: ce(adv), student)
    terms = training_loss(X_ADV)
    assert set(terms) == {"ce", "wrong", "kl"}
    assert_loss_and_gradient(terms["ce"], lambda _, adv: ce(adv).mean(), student)
    assert_loss_and_gradient(terms["wrong"], wrong, student)

    def unsure_kl(clean, adv):
        return beta * ((1 - softmax(clean)[ROWS]) * kl(softmax(clean), softmax(adv))).mean()

    assert_loss_and_gradient(terms["kl"], unsure_kl, student)


def test_certainty_of_a_wrong_class_is_finite_and_pushes():
    """1 − p would be 0 in floating point: the loss is the distance of the logits, and its gradient ±1."""
    student = LogitTable(X, X_ADV)
    with torch.no_grad():
        student.logits[:] = 0
        student.logits[6, 2] = 900  # of the first attacked image, whose class is 0
    loss = pair(MART(), student)[1](X_ADV)["wrong"] * len(Y)
    assert loss.item() == pytest.approx(900 - np.log(3) + 5 * np.log(4 / 3))
    loss.backward()
    assert student.logits.grad[6, 2].item() == pytest.approx(1)


def test_label_smoothing_changes_the_cross_entropy_alone():
    objective, student = MART(), LogitTable(X, X_ADV)
    attack_loss, training_loss = pair(objective, student)
    before, climbed = training_loss(X_ADV), attack_loss(X_ADV)
    objective.begin(Step(label_smoothing=0.2))
    after = training_loss(X_ADV)
    assert {name for name in after if not torch.equal(after[name], before[name])} == {"ce"}
    assert torch.equal(attack_loss(X_ADV), climbed)


def test_the_default_is_that_of_resnet_18():
    assert MART().beta == 5
