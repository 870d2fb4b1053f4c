"""IAD-I, IAD-II and AdaIAD from their formulas, in numpy and float64, on both sides of their switch."""

import numpy as np
import pytest
from answer_table import HOT, X_ADV, Table, X, assert_attack_loss, assert_training_loss, ce, kl, softmax

from ard.models import Frozen
from ard.objectives.base import Step
from ard.objectives.iad import IADI, IADII, AdaIAD


def tables():
    return (Table(seed, clean=X, adv=X_ADV) for seed in range(3))


def trust(teacher, beta):
    return (softmax(teacher["adv"]) * HOT).sum(axis=1) ** beta


def introspective(z, target, w, *, alpha, t, as_released):
    """The training loss of IAD-I and AdaIAD after their switch."""
    both = (w if not as_released else 1) * kl(target, z["adv"], t)
    own = kl(z["clean"], z["adv"]) / t**2 if as_released else kl(z["clean"], z["adv"], t)
    terms = {"kl": alpha * t**2 * both.mean(), "kl_self": alpha * t**2 * ((1 - w) * own).mean()}
    return terms if alpha == 1 else terms | {"ce": (1 - alpha) * ce(z["clean"]).mean()}


def warm_up(z, target, *, alpha, t):
    terms = {"kl": alpha * t**2 * kl(target, z["adv"], t).mean()}
    return terms if alpha == 1 else terms | {"ce": (1 - alpha) * ce(z["clean"]).mean()}


@pytest.mark.parametrize("progress", [0.29, 0.3])
@pytest.mark.parametrize("as_released", [False, True])
@pytest.mark.parametrize(("alpha", "t", "beta"), [(1.0, 1.0, 0.1), (0.7, 4.0, 2.0)])
@pytest.mark.parametrize("kind", [IADI, AdaIAD])
def test_iad_i_and_adaiad(kind, alpha, t, beta, as_released, progress):
    student, teacher, _ = tables()
    answers = teacher.numpy()
    target = answers["clean" if kind is IADI else "adv"]
    objective = kind(alpha=alpha, temperature=t, beta=beta, as_released=as_released)
    objective.begin(Step(progress=progress))

    def formula(z):
        if progress < 0.3:
            return warm_up(z, target, alpha=alpha, t=t)
        return introspective(z, target, trust(answers, beta), alpha=alpha, t=t, as_released=as_released)

    s = student.numpy()["adv"]
    assert_attack_loss(objective, student, teacher, ce(s) if kind is IADI else kl(answers["adv"], s))
    assert_training_loss(objective, student, teacher, formula)


@pytest.mark.parametrize("progress", [0.19, 0.2])
@pytest.mark.parametrize(("first", "second", "t", "beta"), [(0.5, 0.25, 1.0, 0.1), (0.4, 0.1, 2.0, 2.0)])
def test_iad_ii(first, second, t, beta, progress):
    student, teacher, natural = tables()
    robust, accurate = teacher.numpy(), natural.numpy()
    frozen = Frozen()
    frozen._held.append(natural)
    objective = IADII(natural_teacher=frozen, alpha_1=first, alpha_2=second, temperature=t, beta=beta)
    objective.begin(Step(progress=progress, label_smoothing=0.2))
    w = trust(robust, beta) if progress >= 0.2 else np.ones(4)

    def formula(z):
        terms = {
            "ce": (1 - first - second) * ce(z["adv"], 0.2).mean(),
            "kl": first * t**2 * (w * kl(robust["adv"], z["adv"], t)).mean(),
            "kl_natural": second * t**2 * kl(accurate["adv"], z["adv"], t).mean(),
        }
        own = first * t**2 * ((1 - w) * kl(z["clean"], z["adv"], t)).mean()
        return terms | {"kl_self": own} if progress >= 0.2 else terms

    assert_attack_loss(objective, student, teacher, ce(student.numpy()["adv"]))
    assert_training_loss(objective, student, teacher, formula)
    assert all(answer.grad is None for answer in natural.parameters())


def test_defaults():
    assert (IADI().alpha, IADI().beta, IADI().temperature, IADI().begins_at) == (1, 0.1, 1, 0.3)
    two = IADII()
    assert (two.alpha_1, two.alpha_2, two.beta, two.temperature, two.begins_at) == (0.5, 0.25, 0.1, 1, 0.2)
