"""CIARD from its formula, in numpy and float64: the two losses, the push and its scale, and how the temperatures move."""

import math

import numpy as np
import pytest
import torch
from answer_table import CLASSES, X_ADV, Table, X, Y, assert_attack_loss, assert_training_loss, ce, kl, softmax
from tiny import run_facts

from ard.core.errors import UserError
from ard.models import Ensemble, Frozen
from ard.objectives.base import Step
from ard.objectives.mtard import CIARD
from ard.training.schedule import Training


def scene(right=(), **arguments):
    """The natural teacher is right about the attacked images named, and wrong about the others."""
    student, teacher, natural = (Table(seed, clean=X, adv=X_ADV) for seed in range(3))
    with torch.no_grad():
        for image, true in enumerate(Y.tolist()):
            natural.answers["adv"][image, true] = 6 if image in right else -3
    objective = CIARD(natural_teacher=frozen(natural), **arguments).double()
    objective.setup(run_facts(teacher=frozen(teacher)))
    return student, teacher, natural, objective


def frozen(network):
    teacher = Frozen()
    teacher._held.append(network)
    return teacher


def magnitude(loss):
    return math.floor(math.log10(loss))


def formula(teacher, natural, wrong, *, push=1.0, temperature=5.0, taus=(1.0, 1.0), scale=1.0):
    """A function of the student's logits; the factor of the push is that of the student as it is, for it is a constant."""
    factor = []

    def terms(z):
        found = {
            "kl_adv": scale * kl(teacher["adv"] / taus[0], z["adv"]).mean(),
            "kl_natural": scale * kl(natural["clean"] / taus[1], z["clean"]).mean(),
        }
        p, q = softmax(natural["adv"][wrong]), softmax(z["adv"][wrong] / temperature)
        away = scale * (p * np.log(p / q)).sum() / len(wrong)
        factor.append(10.0 ** (min(magnitude(loss) for loss in found.values()) - magnitude(away)))
        return found | {"push": -push * factor[0] * away, "teacher_ce": 0.0}

    return terms


@pytest.mark.parametrize("mean_over_classes", [False, True])
@pytest.mark.parametrize(("right", "push", "temperature"), [((0, 2), 1.0, 5.0), ((1,), 0.5, 2.0), ((), 1.0, 5.0)])
def test_the_losses_and_the_push(right, push, temperature, mean_over_classes):
    student, teacher, natural, objective = scene(
        right, push=push, push_temperature=temperature, mean_over_classes=mean_over_classes
    )
    objective.temperatures.copy_(torch.tensor([2.0, 5.0]))
    wrong = [image for image in range(len(Y)) if image not in right]
    expected = formula(
        teacher.numpy(),
        natural.numpy(),
        wrong,
        push=push,
        temperature=temperature,
        taus=(2.0, 5.0),
        scale=0.1 if mean_over_classes else 1.0,
    )
    assert_attack_loss(objective, student, teacher, ce(student.numpy()["adv"]))
    assert_training_loss(objective, student, teacher, expected)
    assert all(answer.grad is None for answer in natural.parameters())


@pytest.mark.parametrize(("progress", "learns"), [(0.0, False), (0.24, False), (0.25, True), (1.0, True)])
def test_a_copy_of_the_teacher_learns_from_a_fraction_of_training_on(progress, learns):
    """From the labels alone: its gradient is that of its own cross entropy, and the student's has no part of it."""
    student, teacher, _, objective = scene(right=(0, 2), start=0.25)
    objective.begin(Step(progress=progress))
    sum(term for term in objective(student, teacher, X, Y)[1](X_ADV).values() if term.ndim == 0).backward()
    answers = teacher.numpy()["adv"]
    expected = (softmax(answers) - np.eye(CLASSES)[Y.numpy()]) / len(Y)
    np.testing.assert_allclose(objective.learner.answers["adv"].grad, learns * expected, atol=1e-12)
    assert objective.learner.answers["clean"].grad is None
    assert all(answer.grad is None for answer in teacher.parameters())


@pytest.mark.parametrize("schedule", ["multistep", "one_cycle", "triangular"])
def test_the_copy_has_a_rate_of_its_own(schedule):
    """A given fraction of the student's under every schedule; before it learns it stays bit-identical."""
    student, teacher, _, objective = scene(teacher_lr=0.002)
    training = Training(lr=0.1, schedule=schedule)
    optimizer = training.make_optimizer([{"params": list(student.parameters())}, *objective.param_groups()])
    scheduler = training.scheduler(optimizer, 8)
    for step in range(8):
        mine, its = (group["lr"] for group in optimizer.param_groups)
        assert its == pytest.approx(0.02 * mine)
        objective.begin(Step(progress=step / 8))
        optimizer.zero_grad()
        sum(term for term in objective(student, teacher, X, Y)[1](X_ADV).values() if term.ndim == 0).backward()
        optimizer.step()
        scheduler.step()
        same = torch.equal(objective.learner.answers["adv"], teacher.answers["adv"])
        assert same == (step / 8 < 1 / 6)


def test_an_ensemble_cannot_learn_on():
    with pytest.raises(UserError, match=r"learns on is an ensemble, a.pt \+ b.pt: expected one network"):
        CIARD().setup(run_facts(teacher=Ensemble(members=[Frozen(weights="a.pt"), Frozen(weights="b.pt")])))


@pytest.mark.parametrize(("of_student", "of_clean"), [(1.0, 1.0), (0.01, 1.0), (1.0, 0.01)])
def test_the_push_has_the_magnitude_of_the_smaller_loss(of_student, of_clean):
    """Whatever that is: here the student is as near to one of its teachers as the numbers say."""
    student, teacher, natural, objective = scene()
    with torch.no_grad():
        for name, near, guide in (("adv", of_student, teacher), ("clean", of_clean, natural)):
            goal = guide.answers[name]
            student.answers[name].copy_(goal + near * (student.answers[name] - goal))
    terms = {name: term.item() for name, term in objective(student, teacher, X, Y)[1](X_ADV).items() if term.ndim == 0}
    assert magnitude(-terms["push"]) == min(magnitude(terms["kl_adv"]), magnitude(terms["kl_natural"]))


def test_without_an_error_of_the_natural_teacher_nothing_is_pushed():
    student, teacher, _, objective = scene(right=range(len(Y)))
    terms = objective(student, teacher, X, Y)[1](X_ADV)
    assert terms["push"] == 0
    (gradient,) = torch.autograd.grad(terms["push"], student.answers["adv"])
    assert (gradient == 0).all()


def test_a_step_moves_the_temperatures_and_never_the_weights():
    student, teacher, natural, objective = scene(temperature_rate=0.5)
    objective.temperatures.copy_(torch.tensor([3.0, 3.0]))
    objective.begin(Step(lr_factor=0.1))
    excess = np.sign(entropy(teacher.numpy()["adv"] / 3) - entropy(natural.numpy()["clean"] / 3))
    terms = objective(student, teacher, X, Y)[1](X_ADV)
    objective.after_step({name: term.detach() for name, term in terms.items()}, student)
    assert objective.temperatures.tolist() == pytest.approx([3 - 0.05 * excess, 3 + 0.05 * excess], rel=1e-12)
    assert objective.weights.tolist() == [1.0, 1.0]


def released_temperatures(epochs, batches, sign):
    """T's temperature after each step of the released code, whose rate falls in the loop over batches."""
    rate, temperature, found = 0.001, 1.0, []
    for epoch in range(1, epochs + 1):
        for _ in range(batches):
            temperature = max(min(temperature - rate * sign, 10), 1)
            found.append(temperature)
            if epoch in (215, 260, 285):
                rate *= 0.1
    return found


@pytest.mark.parametrize("batches", [12, 390])
def test_the_temperatures_stay_from_epoch_215_on_as_released(batches):
    """Within what is left to move after the first batch of that epoch."""
    objective, expected = scene(freeze=0.71334)[-1], released_temperatures(300, batches, -1)
    observed = {"kl_adv": 1.0, "kl_natural": 1.0, "entropy_adv": 1.0, "entropy_natural": 2.0}
    observed = {name: torch.tensor(value, dtype=torch.float64) for name, value in observed.items()}
    steps = range(300 * batches) if batches < 100 else (213 * batches, 214 * batches, 214 * batches + 1, 300 * batches - 1)
    for step in steps:
        if batches > 100:
            objective.temperatures[0] = expected[step - 1]
        objective.begin(Step(progress=step / (300 * batches)))
        objective.after_step(observed, None)
        assert objective.temperatures[0].item() == pytest.approx(expected[step], abs=1.2e-4)
    assert objective.temperatures[0] > 1.6


def test_by_default_the_temperatures_move_to_the_end():
    objective = scene()[-1]
    objective.begin(Step(progress=0.999))
    observed = {"kl_adv": 1.0, "kl_natural": 1.0, "entropy_adv": 1.0, "entropy_natural": 2.0}
    objective.after_step({name: torch.tensor(value) for name, value in observed.items()}, None)
    assert objective.temperatures[0].item() == pytest.approx(1.001)


def entropy(logits):
    p = softmax(logits)
    return -(p * np.log(p)).sum()
