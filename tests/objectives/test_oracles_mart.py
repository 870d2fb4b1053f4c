"""MART written out a second time, in numpy and float64."""

import numpy as np
import pytest
import torch
from logit_table import ROWS, X_ADV, LogitTable, X, Y, assert_loss_and_gradient, ce, kl, pair, softmax
from tiny import user_error

from ard.objectives.base import Step
from ard.objectives.grad_align import GradAlign
from ard.objectives.mart import MART
from ard.objectives.mtard import CIARD


def wrong(adv, slack=0.0):
    p = softmax(adv)
    p[ROWS] = 0
    return -np.log(1 + slack - p.max(axis=1)).mean()


@pytest.mark.parametrize("slack", [0.0, 1e-4, 0.3])
@pytest.mark.parametrize("beta", [5.0, 2.0])
def test_mart(beta, slack):
    student = LogitTable(X, X_ADV)
    attack_loss, training_loss = pair(MART(beta=beta, slack=slack), student)
    assert_loss_and_gradient(attack_loss(X_ADV), lambda _, adv: ce(adv), student)
    terms = training_loss(X_ADV)
    assert set(terms) == {"ce", "wrong", "kl"}
    assert_loss_and_gradient(terms["ce"], lambda _, adv: ce(adv).mean(), student)
    assert_loss_and_gradient(terms["wrong"], lambda _, adv: wrong(adv, slack), student)

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


@pytest.mark.parametrize(("sure", "left"), [(0.99, 0.99), (0.9999, 0.5), (0.99999, 1 / 11)])
def test_the_released_constant_takes_the_push_from_a_wrong_class_that_is_sure(sure, left):
    """Of the gradient in the wrong class's logit p (1 − p) / (1.0001 − p) is left, where the paper's is p."""
    student = LogitTable(X, X_ADV)
    with torch.no_grad():
        student.logits[:] = 0
        student.logits[6, 2] = np.log(3 * sure / (1 - sure))  # of the first attacked image, whose class is 0
    pushes = []
    for slack in (1e-4, 0.0):
        loss = pair(MART(slack=slack), student)[1](X_ADV)["wrong"] * len(Y)
        (gradient,) = torch.autograd.grad(loss, student.logits)
        pushes.append(gradient[6, 2].item())
    assert pushes == pytest.approx([sure * (1 - sure) / (1.0001 - sure), sure], rel=1e-6)
    assert pushes[0] / pushes[1] == pytest.approx(left, rel=1e-2)


def test_certainty_beyond_floating_point_is_finite_with_the_constant_too():
    student = LogitTable(X, X_ADV)
    with torch.no_grad():
        student.logits[6, 2] = 900
    loss = pair(MART(slack=1e-4), student)[1](X_ADV)["wrong"]
    (gradient,) = torch.autograd.grad(loss, student.logits)
    assert loss.isfinite()
    assert gradient.isfinite().all()


def test_label_smoothing_changes_the_cross_entropy_alone():
    objective, student = MART(), LogitTable(X, X_ADV)
    attack_loss, training_loss = pair(objective, student)
    before, climbed = training_loss(X_ADV), attack_loss(X_ADV)
    objective.begin(Step(label_smoothing=0.2))
    after = training_loss(X_ADV)
    assert {name for name in after if not torch.equal(after[name], before[name])} == {"ce"}
    assert torch.equal(attack_loss(X_ADV), climbed)


@pytest.mark.parametrize(("kind", "name"), [(MART, "slack"), (GradAlign, "saturated"), (CIARD, "freeze")])
def test_what_later_options_cannot_be_is_one_line(kind, name):
    with user_error(rf"^{name} = -0.1: expected at least 0"):
        kind(**{name: -0.1})


def test_the_default_is_that_of_resnet_18():
    assert MART().beta == 5
