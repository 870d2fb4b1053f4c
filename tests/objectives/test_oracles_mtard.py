"""MTARD and B-MTARD from their formulas, in numpy and float64: the losses, and how weights and temperatures move."""

import numpy as np
import pytest
import torch
from answer_table import CLASSES, X_ADV, Table, X, Y, assert_attack_loss, assert_training_loss, ce, kl, softmax

from ard.models import Frozen
from ard.objectives.base import Step
from ard.objectives.mtard import BMTARD, MTARD


def scene(kind, **arguments):
    student, teacher, natural = (Table(seed, clean=X, adv=X_ADV) for seed in range(3))
    frozen = Frozen()
    frozen._held.append(natural)
    return student, teacher, natural, kind(natural_teacher=frozen, **arguments).double()


@pytest.mark.parametrize("mean_over_classes", [False, True])
@pytest.mark.parametrize("kind", [MTARD, BMTARD])
def test_the_losses(kind, mean_over_classes):
    student, teacher, natural, objective = scene(kind, mean_over_classes=mean_over_classes)
    objective.weights.copy_(torch.tensor([0.3, 0.7], dtype=torch.float64))
    robust, accurate = teacher.numpy()["adv"], natural.numpy()["clean"]
    if kind is BMTARD:
        objective.temperatures.copy_(torch.tensor([2.0, 5.0]))
        robust, accurate = robust / 2, accurate / 5
    scale = 0.1 if mean_over_classes else 1

    def formula(z):
        return {
            "kl_adv": 0.3 * scale * kl(robust, z["adv"]).mean(),
            "kl_natural": 0.7 * scale * kl(accurate, z["clean"]).mean(),
        }

    assert_attack_loss(objective, student, teacher, ce(student.numpy()["adv"]))
    assert_training_loss(objective, student, teacher, formula)
    assert all(answer.grad is None for answer in natural.parameters())


def step(objective, losses, **observed):
    """What the engine does after a step with these losses, unweighted."""
    weights = objective.weights.tolist()
    terms = {"kl_adv": weights[0] * losses[0], "kl_natural": weights[1] * losses[1], **observed}
    objective.after_step({name: torch.as_tensor(term, dtype=torch.float64) for name, term in terms.items()}, None)


def test_the_weights_follow_the_relative_losses():
    objective = MTARD(rate=0.1).double()
    w, first = 0.5, (4.0, 1.0)
    for losses, factor in [(first, 1.0), ((2.0, 0.9), 1.0), ((1.0, 1.2), 0.1)]:
        objective.begin(Step(lr_factor=factor))
        step(objective, losses)
        r_robust, r_natural = losses[0] / first[0], losses[1] / first[1]
        w = w - 0.1 * factor * (w - r_natural / (r_robust + r_natural))
        assert objective.weights.tolist() == pytest.approx([1 - w, w], rel=1e-12)
        assert objective.diagnostics()["weight_natural"].item() == pytest.approx(w, rel=1e-12)
    assert w > 0.5  # the natural loss falls more slowly, so it weighs more


def test_a_loss_of_zero_leaves_the_weights_finite():
    objective = MTARD().double()
    for losses in [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0)]:
        step(objective, losses)
        assert objective.weights.isfinite().all()
        assert objective.weights.sum().item() == pytest.approx(1)
        assert objective.weights.min() > 0


def test_the_teacher_of_higher_entropy_cools():
    objective = BMTARD(temperature_rate=0.5).double()
    robust, natural = 1.0, 1.0
    steps = [(3.0, 1.0, 1.0), (3.0, 1.0, 0.1), (1.0, 2.0, 1.0), (2.0, 2.0, 1.0), *[(0.0, 1.0, 8.0)] * 3]
    for of_robust, of_natural, factor in steps:
        objective.begin(Step(lr_factor=factor))
        observed = {"entropy_adv": np.full(CLASSES, of_robust), "entropy_natural": np.full(CLASSES, of_natural)}
        step(objective, (1.0, 1.0), **observed)
        excess = np.sign(of_robust - of_natural)
        robust = min(max(robust - 0.5 * factor * excess, 1), 10)
        natural = min(max(natural + 0.5 * factor * excess, 1), 10)
        assert objective.temperatures.tolist() == pytest.approx([robust, natural], rel=1e-12)
    assert (robust, natural) == (10, 1)
    assert objective.diagnostics().keys() == {"weight_natural", "temperature_adv", "temperature_natural"}


def test_what_is_observed_adds_up_to_the_batchs_entropy():
    student, teacher, natural, objective = scene(BMTARD)
    objective.temperatures.copy_(torch.tensor([2.0, 5.0]))
    terms = objective(student, teacher, X, Y)[1](X_ADV)
    for name, logits in (("entropy_adv", teacher.numpy()["adv"] / 2), ("entropy_natural", natural.numpy()["clean"] / 5)):
        p = softmax(logits)
        np.testing.assert_allclose(terms[name], -(p * np.log(p)).sum(axis=0), rtol=1e-10)


@pytest.mark.parametrize("kind", [MTARD, BMTARD])
def test_a_step_is_repeated_by_an_objective_that_was_saved(kind):
    """First losses, weights and temperatures are in the file."""
    student, teacher, _, objective = scene(kind, rate=0.3)
    for _ in range(2):
        objective.after_step(
            {name: term.detach() for name, term in objective(student, teacher, X, Y)[1](X_ADV).items()}, None
        )
        student.answers["adv"].data *= 0.5
    *_, fresh = scene(kind, rate=0.3)
    fresh.load_state_dict(objective.state_dict())
    assert fresh.state_dict().keys() == {"weights", "first", *({"temperatures"} if kind is BMTARD else ())}
    terms = {name: term.detach() for name, term in objective(student, teacher, X, Y)[1](X_ADV).items()}
    for twin in (objective, fresh):
        twin.after_step(terms, None)
    assert torch.equal(objective.weights, fresh.weights)
    assert not torch.equal(objective.weights, torch.full((2,), 0.5).double())
