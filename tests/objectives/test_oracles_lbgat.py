"""LBGAT written out a second time, in numpy and float64, for both of its learners."""

import numpy as np
import pytest
import torch
from logit_table import BATCH, CLASSES, X_ADV, LogitTable, X, Y, assert_loss_and_gradient, ce, kl, pair, softmax
from tiny import run_facts, tiny_net
from torch import nn

from ard.attacks import attacking
from ard.core.errors import UserError
from ard.objectives.base import Step
from ard.objectives.lbgat import LBGAT


def clean_learner(*, num_classes):
    """It knows no answer to attacked images."""
    assert num_classes == CLASSES
    return LogitTable(X, seed=1)


def built(**arguments):
    objective = LBGAT(**arguments)
    objective.build(student=clean_learner, num_classes=CLASSES)
    return objective


@pytest.mark.parametrize("beta", [0.0, 6.0])
def test_lbgat(beta):
    """Each learner's gradient of each term, the other learner held constant: N receives the MSE's."""
    student, objective = LogitTable(X, X_ADV), built(beta=beta)
    attack_loss, training_loss = pair(objective, student)
    target = softmax(student.numbers(2)[0])
    assert_loss_and_gradient(attack_loss(X_ADV), lambda _, adv: kl(target, softmax(adv)), student)
    terms = training_loss(X_ADV)
    (learned,), (_, of_student) = objective.clean_learner.numbers(1), student.numbers(2)

    def mse(first, second):
        return ((first - second) ** 2).sum() / (BATCH * CLASSES)

    assert terms.keys() == {"mse", "clean_learner_ce", "kl"}
    assert_loss_and_gradient(terms["mse"], lambda _, adv: mse(adv, learned), student)
    assert_loss_and_gradient(terms["mse"], lambda clean: mse(of_student, clean), objective.clean_learner, count=1)
    assert_loss_and_gradient(terms["clean_learner_ce"], lambda clean: ce(clean).mean(), objective.clean_learner, count=1)
    assert_loss_and_gradient(terms["kl"], lambda clean, adv: beta * kl(softmax(clean), softmax(adv)).mean(), student)
    for name, learner in (("clean_learner_ce", student), ("kl", objective.clean_learner)):
        assert torch.autograd.grad(terms[name], learner.logits, retain_graph=True, allow_unused=True) == (None,), name


def test_the_clean_learner_is_not_asked_by_the_attack_and_else_in_train_mode():
    asked = []
    student, objective = LogitTable(X, X_ADV), built().train()
    objective.clean_learner.register_forward_hook(lambda module, inputs, _: asked.append((inputs[0] is X, module.training)))
    attack_loss, training_loss = pair(objective, student)
    attack_loss(X_ADV)
    assert asked == []
    training_loss(X_ADV)
    assert asked == [(True, True)]


@pytest.mark.parametrize("beta", [0.0, 6.0])
def test_the_students_batch_norm_sees_attacked_and_clean_images_once_each(beta):
    """Also at β = 0, where the clean ones give no gradient."""
    student, objective = tiny_net().train(), LBGAT(beta=beta)
    objective.build(student=lambda *, num_classes: tiny_net(1, classes=num_classes), num_classes=CLASSES)
    with attacking(student, objective):
        _, training_loss = objective(student, None, X.float(), Y)
    before = student[1].num_batches_tracked.item()
    training_loss(X_ADV.float())
    assert student[1].num_batches_tracked.item() == before + 2


def test_its_hard_labels_are_smoothed_and_may_be_shares():
    objective, student = built(), LogitTable(X, X_ADV)
    (learned,) = objective.clean_learner.numbers(1)
    hot = np.eye(CLASSES)[Y.numpy()]
    objective.begin(Step(label_smoothing=0.2))
    expected = -((0.8 * hot + 0.2 / CLASSES) * np.log(softmax(learned))).sum() / BATCH
    assert pair(objective, student)[1](X_ADV)["clean_learner_ce"].item() == pytest.approx(expected)
    objective.begin(Step())
    shares = 0.7 * hot + 0.3 * np.roll(hot, 1, axis=0)
    expected = -(shares * np.log(softmax(learned))).sum() / BATCH
    found = objective(student, None, X, torch.from_numpy(shares))[1](X_ADV)["clean_learner_ce"]
    assert found.item() == pytest.approx(expected)


def test_it_wants_labels_of_any_kind():
    assert LBGAT().labels == "soft"


def test_the_clean_learner_is_another_network_optimised_saved_and_of_the_kind_that_is_asked_for():
    def deeper(*, num_classes):
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 5), nn.ReLU(), nn.Linear(5, num_classes))

    objective = LBGAT(clean_learner=deeper)
    objective.build_all(student=clean_learner, num_classes=CLASSES)
    (group,) = objective.param_groups_all()
    assert sum(parameter.numel() for parameter in group["params"]) == 37 * 5 + 6 * CLASSES
    assert {name.partition(".")[0] for name in objective.state_dict()} == {"clean_learner"}
    objective.setup_all(run_facts())
    wrong = LBGAT(clean_learner=lambda *, num_classes: deeper(num_classes=num_classes + 1))
    wrong.build_all(student=clean_learner, num_classes=CLASSES)
    with pytest.raises(UserError, match="the clean learner"):
        wrong.setup_all(run_facts())
