"""DGAD written out a second time, in numpy and float64, image by image."""

import numpy as np
import pytest
import torch
from logit_table import BATCH, CLASSES, X_ADV, LogitTable, X, Y, assert_loss_and_gradient, kl, pair, softmax

from ard.objectives.dgad import DGAD


def teacher_table():
    """Right twice, wrong on both, wrong on x alone, wrong on x' alone, right: by the image."""
    teacher = LogitTable(X, X_ADV, seed=1)
    with torch.no_grad():
        for row, right in enumerate([True, True, False, False, True, True, True, True, False, True, False, True]):
            true = int(Y[row % BATCH])
            teacher.logits[row, true] = 5 if right else -1
            assert (int(teacher.logits[row].argmax()) == true) == right
    return teacher


TEACHER = teacher_table()


def corrected(logits):
    swapped = logits.copy()
    for row, true in zip(swapped, Y.tolist(), strict=True):
        top = int(row.argmax())
        row[top], row[true] = row[true], row[top]
    return swapped


def distillation(clean, adv):
    on_clean, on_adv = TEACHER.numbers(2)
    total = 0
    for i, true in enumerate(Y.tolist()):
        logits, answer = (on_clean, clean) if on_clean[i].argmax() != true else (on_adv, adv)
        total += kl(softmax(corrected(logits))[i : i + 1], softmax(answer[i : i + 1]))[0]
    return total / BATCH


@pytest.mark.parametrize("mean_square", [False, True])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.5, 3.0)])
def test_dgad(alpha, beta, mean_square):
    student = LogitTable(X, X_ADV)
    attack_loss, training_loss = pair(DGAD(alpha=alpha, beta=beta, mean_square=mean_square), student, TEACHER)
    target = softmax(TEACHER.numbers(2)[1])  # as the teacher says it, right or wrong
    assert_loss_and_gradient(attack_loss(X_ADV), lambda _, adv: kl(target, softmax(adv)), student)
    terms = training_loss(X_ADV)
    assert set(terms) == {"kl", "consistency"}
    assert_loss_and_gradient(terms["kl"], lambda clean, adv: alpha * distillation(clean, adv), student)

    def consistency(clean, adv):
        square = ((softmax(clean) - softmax(adv)) ** 2).sum(axis=1)
        return beta * (square / CLASSES if mean_square else np.sqrt(square)).mean()

    assert_loss_and_gradient(terms["consistency"], consistency, student)


def test_both_kinds_of_error_occur_here():
    wrong = [(answers.argmax(axis=1) != Y.numpy()).tolist() for answers in TEACHER.numbers(2)]
    assert set(zip(*wrong, strict=True)) == {(False, False), (True, True), (True, False), (False, True)}


def test_the_attack_climbs_the_teacher_too():
    student, teacher = LogitTable(X, X_ADV), LogitTable(X, X_ADV, seed=1)
    attack_loss, _ = pair(DGAD(), student, teacher)
    (found,) = torch.autograd.grad(attack_loss(X_ADV).sum(), teacher.logits)
    p, q = softmax(teacher.numbers(2)[1]), softmax(student.numbers(2)[1])
    expected = p * (np.log(p / q) - kl(p, q)[:, None])  # the gradient of a KL in the logits of its first argument
    np.testing.assert_allclose(found[BATCH:], expected, rtol=1e-9)


def test_nothing_to_learn_from_an_image_that_did_not_move_is_finite():
    student = LogitTable(X)
    teacher = LogitTable(X, seed=1)
    terms = pair(DGAD(), student, teacher)[1](X)
    (gradient,) = torch.autograd.grad(terms["consistency"], student.logits)
    assert terms["consistency"] == 0
    assert (gradient == 0).all()
