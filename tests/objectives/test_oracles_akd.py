"""AKD and AKD2 from their formulas, in numpy and float64."""

import pytest
from answer_table import X_ADV, Table, X, assert_attack_loss, assert_training_loss, ce, kl

from ard.models import Frozen
from ard.objectives.akd import AKD, AKD2
from ard.objectives.base import Step


def held(teacher):
    """A teacher that needs no file."""
    frozen = Frozen()
    frozen._held.append(teacher)
    return frozen


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize(("alpha", "t"), [(0.6, 2.0), (0.9, 5.0)])
def test_akd(alpha, t, smoothing):
    student, teacher = Table(0, adv=X_ADV), Table(1, adv=X_ADV)
    soft = teacher.numpy()["adv"]
    objective = AKD(alpha=alpha, temperature=t)
    objective.begin(Step(label_smoothing=smoothing))

    def formula(z):
        kl_term = alpha * t**2 * kl(soft, z["adv"], t).mean()
        return {"ce": (1 - alpha) * ce(z["adv"], smoothing).mean(), "kl": kl_term}

    assert_attack_loss(objective, student, teacher, ce(student.numpy()["adv"]))
    assert_training_loss(objective, student, teacher, formula)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize(("alpha", "beta", "t"), [(0.6, 0.1, 2.0), (0.5, 0.25, 1.0)])
def test_akd2(alpha, beta, t, smoothing):
    student, teacher, natural = (Table(seed, clean=X, adv=X_ADV) for seed in range(3))
    robust, accurate = teacher.numpy()["adv"], natural.numpy()["adv"]
    objective = AKD2(natural_teacher=held(natural), alpha=alpha, beta=beta, temperature=t)
    objective.begin(Step(label_smoothing=smoothing))

    def formula(z):
        return {
            "ce": (1 - alpha - beta) * ce(z["adv"], smoothing).mean(),
            "kl": alpha * t**2 * kl(robust, z["adv"], t).mean(),
            "kl_natural": beta * t**2 * kl(accurate, z["adv"], t).mean(),
        }

    assert_attack_loss(objective, student, teacher, ce(student.numpy()["adv"]))
    assert_training_loss(objective, student, teacher, formula)
    assert all(answer.grad is None for answer in natural.parameters())


def test_defaults_are_the_papers():
    assert (AKD2().alpha, AKD2().beta, AKD2().temperature) == (0.6, 0.1, 2)
