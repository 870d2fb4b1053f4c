"""The controls of distillation written out a second time, in numpy: what they tell their base, over several batches."""

import numpy as np
import pytest
import torch
from logit_table import BATCH, CLASSES, X_ADV, LogitTable, X, Y, assert_loss_and_gradient, ce, kl, pair, softmax
from tiny import generator, run_facts, user_error

from ard.objectives.adaad import AdaAD
from ard.objectives.ard import ARD
from ard.objectives.base import Step
from ard.objectives.kd import KD
from ard.objectives.less_known import LessKnown
from ard.objectives.mart import MART
from ard.objectives.norm_bias import NormBias
from ard.objectives.pgd_at import PGDAT
from ard.objectives.rslad import RSLAD
from ard.objectives.teacher_labels import TeacherLabels
from ard.objectives.trades import TRADES

T = 5.0
NUMBERS = Y.numpy()


def made(told, base=ARD, **step):
    objective = LessKnown(base=base(temperature=T), told=told)
    objective.setup_all(run_facts(num_classes=CLASSES))
    objective.double()
    objective.begin(Step(generator=generator(), **step))
    return objective


def told_to(student, terms, target, attacked=True):
    """The training loss is ARD's, or KD's of images as they are, with `target` in the teacher's place."""
    formula = lambda x, adv: T**2 * kl(softmax(target, T), softmax(adv if attacked else x, T)).mean()  # noqa: E731
    assert_loss_and_gradient(terms["kl"], formula, student)


def mean_margin(logits):
    classes = logits.argmax(axis=1)
    others = np.where(np.eye(CLASSES)[classes] == 1, -np.inf, logits)
    return (logits[np.arange(len(classes)), classes] - others.max(axis=1)).mean()


def as_sure(logits):
    """The m of which the softmax has, at T, the mean log odds of the teacher's own class."""
    odds = [p.max() / (1 - p.max()) for p in softmax(logits, T)]
    return T * (np.log(odds).mean() + np.log(CLASSES - 1))


def expected(told, answers, classes):
    """Over all images that were shown."""
    if told in ("one_hot", "same_odds"):
        m = (mean_margin if told == "one_hot" else as_sure)(answers)
        return m * np.eye(CLASSES)[NUMBERS]
    return np.stack([answers[classes == y].mean(axis=0) for y in NUMBERS])


@pytest.mark.parametrize("told", ["one_hot", "same_odds", "class_mean"])
def test_what_is_told_is_the_mean_over_all_that_was_shown(told):
    student, first, second = LogitTable(X, X_ADV), LogitTable(X, seed=5), LogitTable(X, seed=6)
    objective = made(told)
    attack_loss, training_loss = pair(objective, student, first)
    assert_loss_and_gradient(attack_loss(X_ADV), lambda _, adv: ce(adv), student)
    terms = training_loss(X_ADV)
    told_to(student, terms, expected(told, first.numbers(1)[0], NUMBERS))
    objective.after_step_all({name: term.detach() for name, term in terms.items()}, student)
    terms = pair(objective, student, second)[1](X_ADV)
    both = np.concatenate([first.numbers(1)[0], second.numbers(1)[0]])
    told_to(student, terms, expected(told, both, np.concatenate([NUMBERS, NUMBERS])))


@pytest.mark.parametrize("told", ["one_hot", "same_odds", "class_mean"])
def test_kd_is_told_the_same_and_attacks_nothing(told):
    student, teacher = LogitTable(X, X_ADV), LogitTable(X, seed=5)
    attack_loss, training_loss = pair(made(told, KD), student, teacher)
    assert attack_loss is None
    told_to(student, training_loss(X), expected(told, teacher.numbers(1)[0], NUMBERS), attacked=False)


def test_the_temperature_is_found_inside_another_method():
    around = LessKnown(base=NormBias(base=ARD(temperature=T)), told="same_odds")
    logits = torch.from_numpy(LogitTable(X, seed=5).numbers(1)[0])
    assert float(around._margin(logits).mean()) == pytest.approx(as_sure(logits.numpy()))
    assert float(LessKnown(base=RSLAD(), told="same_odds")._margin(logits).mean()) != pytest.approx(as_sure(logits.numpy()))


def test_another_image_is_of_the_same_class_and_never_the_same_where_there_is_another():
    student, teacher = LogitTable(X, X_ADV), LogitTable(X, seed=5)
    answers, seen = teacher.numbers(1)[0], set()
    for seed in range(30):
        objective = made("another_image")
        objective.begin(Step(generator=generator(seed)))
        partners = objective._partners(Y).tolist()
        assert sorted(partners) == list(range(BATCH))
        for mine, other in enumerate(partners):
            assert NUMBERS[mine] == NUMBERS[other]
            assert (mine != other) == ((NUMBERS[mine] == NUMBERS).sum() > 1)
        seen.add(tuple(partners))
        objective.begin(Step(generator=generator(seed)))
        told_to(student, pair(objective, student, teacher)[1](X_ADV), answers[partners])
    big = torch.arange(3).repeat(10)
    drawn = {tuple(made("another_image")._partners(big).tolist()) for _ in range(2)}
    assert len(drawn) == 1  # the same generator, the same images


def test_a_base_that_could_not_be_told_less_is_refused():
    for base, name in ((PGDAT(), "PGDAT"), (AdaAD(), "AdaAD")):
        with user_error(f"{name} does not ask a teacher about x: expected a base"):
            LessKnown(base=base, told="one_hot")


@pytest.mark.parametrize("missing_only", [False, True])
def test_the_teachers_classes_are_the_labels(missing_only):
    student, teacher = LogitTable(X, X_ADV), LogitTable(X, seed=5)
    given = Y.clone()
    given[::2] = -1
    named = teacher.numbers(1)[0].argmax(axis=1)
    assert (named != NUMBERS).any()
    labels = np.where(given.numpy() < 0, named, NUMBERS) if missing_only else named
    objective = TeacherLabels(base=TRADES(beta=2.0), missing_only=missing_only)
    assert (objective.labels, objective.needs_teacher) == ("none", True)
    _, training_loss = objective(student, teacher, X, given)
    terms = training_loss(X_ADV)
    rows = np.arange(BATCH), labels
    assert_loss_and_gradient(terms["ce"], lambda clean, _: -np.log(softmax(clean)[rows]).mean(), student)


def test_labels_for_a_base_that_looks_at_none_are_refused():
    with user_error("RSLAD looks at no label: expected a base that learns from labels"):
        TeacherLabels(base=RSLAD())


def test_a_teacher_with_a_temperature_of_its_own():
    student, teacher = LogitTable(X, X_ADV), LogitTable(X, seed=5)
    target = softmax(teacher.numbers(1)[0], 8.0)
    terms = pair(ARD(temperature=2.0, teacher_temperature=8.0), student, teacher)[1](X_ADV)
    assert_loss_and_gradient(terms["kl"], lambda _, adv: 4 * kl(target, softmax(adv, 2.0)).mean(), student)


def test_what_a_mixed_image_lacks_of_a_label_the_teacher_gives():
    """CutMix of an image with a label and one without: the row of shares does not sum to 1."""
    student, teacher = LogitTable(X, X_ADV), LogitTable(X, seed=5)
    shares = torch.zeros(BATCH, CLASSES, dtype=torch.float64)
    shares[:, 1] = torch.linspace(0, 1, BATCH, dtype=torch.float64)
    named = teacher.numbers(1)[0].argmax(axis=1)
    full = shares.numpy() + (1 - shares.numpy().sum(axis=1, keepdims=True)) * np.eye(CLASSES)[named]
    _, training_loss = TeacherLabels(base=PGDAT(), missing_only=True)(student, teacher, X, shares)
    formula = lambda _, adv: -(full * np.log(softmax(adv))).sum(axis=1).mean()  # noqa: E731
    assert_loss_and_gradient(training_loss(X_ADV)["ce"], formula, student)
    with user_error("MART needs one class an image; CutMix mixes two"):
        TeacherLabels(base=MART(), missing_only=True)(student, teacher, X, shares)


@pytest.mark.parametrize("temperature", [0.0, -5.0])
def test_the_teachers_temperature_is_above_0(temperature):
    with user_error(f"teacher_temperature = {temperature}: expected above 0"):
        ARD(teacher_temperature=temperature)
