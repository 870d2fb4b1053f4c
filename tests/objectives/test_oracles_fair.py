"""The fair methods written out a second time, in numpy and float64, and what they remember from epoch to epoch."""

import numpy as np
import pytest
import torch
from logit_table import CLASSES, X_ADV, LogitTable, X, Y, assert_loss_and_gradient, ce, kl, pair, softmax
from tiny import run_facts

from ard.objectives.absld import ABSLD
from ard.objectives.base import Step
from ard.objectives.fair_ard import FairARD
from ard.objectives.rslad import RSLAD

WEIGHTS = torch.tensor([0.5, 1.5, 2.0, 1.0])
TEACHER = LogitTable(X, X_ADV, seed=1)
COUNTS = torch.tensor([10.0, 10, 20, 40])  # images of each class in an epoch


def told(objective):
    objective.setup(run_facts())
    return objective


def survived(numbers, shown=COUNTS):
    return {"survived": torch.tensor(numbers), "shown": shown}


def risks(adv, clean, shown=COUNTS):
    return {"risk_adv": torch.as_tensor(adv), "risk_clean": torch.as_tensor(clean), "shown": shown}


def test_a_class_that_an_epoch_does_not_show_keeps_what_it_has():
    """Also where it shows none at all, as where a guard took every step."""
    fair, absld, shown = told(FairARD()), told(ABSLD()), torch.tensor([10.0, 0, 20, 0])
    fair.weights.copy_(WEIGHTS)
    fair.after_step(survived([10.0, 0, 40, 0], shown), None)
    absld.temperatures.fill_(3.0)
    absld.begin(Step())
    absld.after_step(risks([10.0, 0, 40, 0], [20.0, 0, 0, 0], shown), None)
    for _ in range(2):
        fair.on_epoch_end()
        absld.on_epoch_end()
        assert fair.weights.tolist() == pytest.approx([1.6, 1.5, 5 / 6, 1.0], abs=1e-4)  # κ 1 and 2: 8/5 and 2/5
        assert absld.temperatures.flatten().tolist() == pytest.approx([3.1, 3, 2.9, 3, 2.9, 3, 3.1, 3])


@pytest.mark.parametrize("objective", [FairARD(), ABSLD()])
def test_what_is_counted_are_the_images_of_the_batch(objective):
    terms = pair(told(objective), LogitTable(X, X_ADV), TEACHER)[1](X_ADV)
    assert terms["shown"].tolist() == np.bincount(Y, minlength=CLASSES).tolist()


@pytest.mark.parametrize("mean_over_classes", [False, True])
@pytest.mark.parametrize(("alpha", "t"), [(0.7, 4.0), (1.0, 30.0)])
def test_fair_ard(alpha, t, mean_over_classes):
    objective, student = told(FairARD(alpha=alpha, temperature=t, mean_over_classes=mean_over_classes)), LogitTable(X, X_ADV)
    objective.weights.copy_(WEIGHTS)
    attack_loss, training_loss = pair(objective, student, TEACHER)
    target, weights = softmax(TEACHER.numbers(2)[0], t), WEIGHTS.numpy()[Y]
    scale = alpha * t**2 / (CLASSES if mean_over_classes else 1)
    assert_loss_and_gradient(attack_loss(X_ADV), lambda _, adv: ce(adv), student)
    right = student.numbers(2)[1].argmax(axis=1) == Y.numpy()
    assert np.array_equal(attack_loss.seen, right)
    terms = training_loss(X_ADV)
    assert set(terms) == {"kl", "ce", "survived", "shown"} - ({"ce"} if alpha == 1 else set())
    assert terms["survived"].tolist() == [right[Y.numpy() == k].sum() for k in range(CLASSES)]
    assert_loss_and_gradient(terms["kl"], lambda _, adv: scale * (weights * kl(target, softmax(adv, t))).mean(), student)
    if alpha < 1:
        assert_loss_and_gradient(terms["ce"], lambda clean, _: (1 - alpha) * (weights * ce(clean)).mean(), student)


def test_fair_ards_weights_follow_the_epoch_before():
    objective = told(FairARD())
    assert objective.weights.tolist() == [1, 1, 1, 1]
    for numbers in ([50.0, 20, 160, 100], [30.0, 20, 40, 100]):
        objective.after_step({"kl": torch.tensor(1.0), **survived(numbers, COUNTS / 2)}, None)
    assert objective.weights.tolist() == [1, 1, 1, 1], "nothing moves within an epoch"
    objective.on_epoch_end()
    kappa = np.array([8, 4, 10, 5])  # a mean over the images of the class, whose number differs
    wanted = kappa**-2.0 * 4 / (kappa**-2.0).sum()
    assert wanted.min() < 5 / 6 < 5 / 2 > wanted.max()
    np.testing.assert_allclose(objective.weights, np.clip(wanted, 5 / 6, 5 / 2), rtol=1e-4)
    assert objective.survived.tolist() == objective.shown.tolist() == [0, 0, 0, 0]


def test_fair_ards_weights_are_clipped_after_scaling():
    objective = told(FairARD())
    objective.after_step(survived([0.0, 10, 40, 40]), None)  # κ 0, 1, 2 and 1
    objective.on_epoch_end()
    assert objective.weights.tolist() == pytest.approx([5 / 2, 5 / 6, 5 / 6, 5 / 6])


def test_fair_ards_hard_labels_are_smoothed_and_its_attack_is_not():
    objective, student = told(FairARD(alpha=0.5)), LogitTable(X, X_ADV)
    objective.begin(Step(label_smoothing=0.2))
    attack_loss, training_loss = pair(objective, student, TEACHER)
    assert_loss_and_gradient(attack_loss(X_ADV), lambda _, adv: ce(adv), student)
    soft = 0.8 * np.eye(CLASSES)[Y.numpy()] + 0.2 / CLASSES
    assert_loss_and_gradient(
        training_loss(X_ADV)["ce"], lambda clean, _: 0.5 * -(soft * np.log(softmax(clean))).sum(axis=1).mean(), student
    )


def test_a_checkpoint_in_the_middle_of_an_epoch_is_enough():
    left, resumed = told(FairARD()), FairARD()
    left.after_step(survived([9.0, 5, 3, 2]), None)
    resumed.load_state_dict(left.state_dict())
    for objective in (left, resumed):
        objective.after_step(survived([1.0, 1, 9, 9]), None)
        objective.on_epoch_end()
    assert torch.equal(left.weights, resumed.weights)
    assert left.weights.unique().numel() > 1


@pytest.mark.parametrize("mean_over_classes", [False, True])
@pytest.mark.parametrize("alpha", [5 / 6, 0.3])
def test_absld(alpha, mean_over_classes):
    objective, student = told(ABSLD(alpha=alpha, mean_over_classes=mean_over_classes)), LogitTable(X, X_ADV)
    objective.temperatures.copy_(torch.tensor([[0.5, 1.0, 2.0, 5.0], [4.0, 0.75, 1.0, 0.5]]))
    attack_loss, training_loss = pair(objective, student, TEACHER)
    logits = TEACHER.numbers(2)[0]
    for_adv, for_clean = (softmax(logits / t.numpy()[Y][:, None]) for t in objective.temperatures)
    scale = 0.1 if mean_over_classes else 1
    assert_loss_and_gradient(attack_loss(X_ADV), lambda _, adv: kl(for_adv, softmax(adv)), student)
    terms = training_loss(X_ADV)
    assert set(terms) == {"kl_adv", "kl_clean", "risk_adv", "risk_clean", "shown"}
    assert_loss_and_gradient(terms["kl_adv"], lambda _, adv: scale * alpha * kl(for_adv, softmax(adv)).mean(), student)
    assert_loss_and_gradient(
        terms["kl_clean"], lambda clean, _: scale * (1 - alpha) * kl(for_clean, softmax(clean)).mean(), student
    )
    clean, adv = student.numbers(2)
    for name, answer in (("risk_adv", adv), ("risk_clean", clean)):
        expected = [ce(answer)[Y.numpy() == k].sum() for k in range(CLASSES)]
        np.testing.assert_allclose(terms[name], expected, rtol=1e-10)


def test_absld_starts_as_rslad():
    student = LogitTable(X, X_ADV)
    terms = pair(told(ABSLD()), student, TEACHER)[1](X_ADV)
    expected = pair(RSLAD(), student, TEACHER)[1](X_ADV)
    assert {name: terms[name].item() for name in expected} == {name: term.item() for name, term in expected.items()}


def test_abslds_temperatures_fall_where_the_risk_is_high():
    objective = told(ABSLD())
    objective.begin(Step(lr_factor=0.5))
    for _ in range(2):
        objective.after_step(risks([5.0, 10, 30, 40], [5.0, 5, 10, 60], COUNTS / 2), None)
    assert (objective.temperatures == 1).all(), "nothing moves within an epoch"
    objective.on_epoch_end()
    adv, clean = np.array([1, 2, 3, 2]), np.array([1, 1, 1, 3])  # means over the images of the class
    expected = [1 - 0.1 * 0.5 * (r - r.mean()) / np.abs(r - r.mean()).max() for r in (adv, clean)]
    np.testing.assert_allclose(objective.temperatures, expected, rtol=1e-6)
    assert objective.risks.count_nonzero() == objective.shown.count_nonzero() == 0


def released_temperatures(risks, drops):
    """What the released script has after each epoch: the rate falls after the epochs in `drops`, before the update."""
    temperatures, rate = np.ones(CLASSES), 0.1
    for epoch, risk in enumerate(risks, start=1):
        if epoch in drops:
            rate *= 0.1
        gap = risk - risk.mean()
        temperatures = np.clip(temperatures - rate * gap / np.abs(gap).max(), 0.5, 5)
        yield temperatures


@pytest.mark.parametrize("drops", [(2,), (1, 3), ()])
def test_abslds_rate_falls_before_the_update_as_released(drops):
    """R is a sum there and a mean here, which is the same where classes are balanced."""
    objective, shown = told(ABSLD(falls_first=True)), torch.full((CLASSES,), 20.0)
    sums = np.random.default_rng(0).uniform(1, 50, (4, CLASSES))
    for epoch, expected in enumerate(released_temperatures(sums, drops), start=1):
        factors = [0.1 ** sum(drop < last for drop in drops) for last in (epoch, epoch + 1)]
        objective.begin(Step(lr_factor=factors[0], next_lr_factor=factors[1]))
        risk = torch.tensor(sums[epoch - 1])
        objective.after_step(risks(risk, risk.flip(0), shown), None)
        objective.on_epoch_end()
        np.testing.assert_allclose(objective.temperatures[0], expected, rtol=1e-6)
    assert not np.allclose(objective.temperatures[0], objective.temperatures[1])


def test_absld_clips_and_leaves_equal_classes_alone():
    objective = told(ABSLD(step=10.0))
    objective.after_step(risks(COUNTS * torch.tensor([0.0, 1, 1, 2]), COUNTS), None)
    objective.on_epoch_end()
    assert objective.temperatures.tolist() == [[5, 1, 1, 0.5], [1, 1, 1, 1]]
