"""The fair methods written out a second time, in numpy and float64, and what they remember from epoch to epoch."""

import numpy as np
import pytest
import torch
from logit_table import CLASSES, X_ADV, LogitTable, X, Y, assert_loss_and_gradient, ce, kl, pair, softmax

from ard.objectives.fair_ard import FairARD

WEIGHTS = torch.tensor([0.5, 1.5, 2.0, 1.0])
TEACHER = LogitTable(X, X_ADV, seed=1)
COUNTS = [10, 10, 20, 40]


def told(objective, class_counts=COUNTS):
    objective.setup(num_classes=CLASSES, class_counts=class_counts, eps=0.1, max_epochs=2)
    return objective


@pytest.mark.parametrize("mean_over_classes", [False, True])
@pytest.mark.parametrize(("alpha", "t"), [(0.7, 4.0), (1.0, 30.0)])
def test_fair_ard(alpha, t, mean_over_classes):
    objective, student = told(FairARD(alpha=alpha, temperature=t, mean_over_classes=mean_over_classes)), LogitTable(X, X_ADV)
    objective.weights.copy_(WEIGHTS)
    inner, outer = pair(objective, student, TEACHER)
    target, weights = softmax(TEACHER.numbers(2)[0], t), WEIGHTS.numpy()[Y]
    scale = alpha * t**2 / (CLASSES if mean_over_classes else 1)
    assert_loss_and_gradient(inner(X_ADV)[0], lambda _, adv: ce(adv), student)
    assert np.array_equal(inner(X_ADV)[1], student.numbers(2)[1].argmax(axis=1) == Y.numpy())
    terms = outer(X_ADV)
    assert set(terms) == {"kl", "ce"} - ({"ce"} if alpha == 1 else set())
    assert_loss_and_gradient(terms["kl"], lambda _, adv: scale * (weights * kl(target, softmax(adv, t))).mean(), student)
    if alpha < 1:
        assert_loss_and_gradient(terms["ce"], lambda clean, _: (1 - alpha) * (weights * ce(clean)).mean(), student)


def test_fair_ards_weights_follow_the_epoch_before():
    objective = told(FairARD())
    assert objective.weights.tolist() == [1, 1, 1, 1]
    for survived in ([50.0, 20, 160, 100], [30.0, 20, 40, 100]):
        objective.after_step({"kl": torch.tensor(1.0), "survived": torch.tensor(survived)})
    assert objective.weights.tolist() == [1, 1, 1, 1], "nothing moves within an epoch"
    objective.on_epoch_end()
    kappa = np.array([8, 4, 10, 5])  # a mean over the images of the class, whose number differs
    wanted = kappa**-2.0 * 4 / (kappa**-2.0).sum()
    assert wanted.min() < 5 / 6 < 5 / 2 > wanted.max()
    np.testing.assert_allclose(objective.weights, np.clip(wanted, 5 / 6, 5 / 2), rtol=1e-4)
    assert objective.survived.tolist() == [0, 0, 0, 0]


def test_fair_ards_weights_are_clipped_after_scaling():
    objective = told(FairARD())
    objective.after_step({"survived": torch.tensor([0.0, 10, 40, 40])})  # κ 0, 1, 2 and 1
    objective.on_epoch_end()
    assert objective.weights.tolist() == pytest.approx([5 / 2, 5 / 6, 5 / 6, 5 / 6])


def test_fair_ards_hard_labels_are_smoothed_and_its_attack_is_not():
    objective, student = told(FairARD(alpha=0.5)), LogitTable(X, X_ADV)
    objective.label_smoothing = 0.2
    inner, outer = pair(objective, student, TEACHER)
    assert_loss_and_gradient(inner(X_ADV)[0], lambda _, adv: ce(adv), student)
    soft = 0.8 * np.eye(CLASSES)[Y.numpy()] + 0.2 / CLASSES
    assert_loss_and_gradient(
        outer(X_ADV)["ce"], lambda clean, _: 0.5 * -(soft * np.log(softmax(clean))).sum(axis=1).mean(), student
    )


def test_a_checkpoint_in_the_middle_of_an_epoch_is_enough():
    left, resumed = told(FairARD()), FairARD()
    left.after_step({"survived": torch.tensor([9.0, 5, 3, 2])})
    resumed.load_state_dict(left.state_dict())
    for objective in (left, resumed):
        objective.after_step({"survived": torch.tensor([1.0, 1, 9, 9])})
        objective.on_epoch_end()
    assert torch.equal(left.weights, resumed.weights)
    assert left.weights.unique().numel() > 1
