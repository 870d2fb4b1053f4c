"""LIET in numpy and float64, from the same draws: labels, perturbations, start, losses, gradients; and its laws."""

import copy

import numpy as np
import pytest
import torch
from logit_table import BATCH, CLASSES, ROWS, X_ADV, LogitTable, X, Y, assert_loss_and_gradient, kl, pair, softmax
from tiny import generator, images, labels, run_facts, tiny_net, user_error
from torch import nn

from ard.attacks import FGSM, L2, NFGSM, Linf
from ard.objectives.ard import ARD
from ard.objectives.base import Step
from ard.objectives.kd import KD
from ard.objectives.liet import LIET, smoothed
from ard.objectives.pgd_at import PGDAT
from ard.objectives.rslad import RSLAD
from ard.training.step import take

EPS = 0.1
LINEAR = nn.Sequential(nn.Flatten(), nn.Linear(36, CLASSES)).double()
with torch.random.fork_rng([]):
    torch.manual_seed(0)
    nn.init.normal_(LINEAR[1].weight)
TEACHER = copy.deepcopy(LINEAR).requires_grad_(False)


def liet(*, threat=None, step=None, batches=30, epochs=4, **options):
    objective = LIET(**options)
    student, threat = copy.deepcopy(LINEAR).float(), threat or Linf(eps=EPS)
    objective.setup_all(run_facts(student=student, threat=threat, batches=batches, max_epochs=epochs))
    objective.double().begin(step or Step(epoch=1, eps=EPS, generator=generator(5)))
    return objective


def shares(u, smoothing=0.6):
    """Labels smoothed at random, by loops."""
    found = np.zeros((len(u), CLASSES))
    for row, true in enumerate(ROWS[1] if len(u) == BATCH else range(len(u))):
        others = sum(u[row, c] for c in range(CLASSES) if c != true)
        for c in range(CLASSES):
            found[row, c] = 1 - smoothing if c == true else smoothing * u[row, c] / others
    return found


def draws(seed=5, smooths=True):
    """What the body draws, in its order: two labels, mask, share and coin, noise in [-1, 1]."""
    random = generator(seed)
    drawn = [torch.rand(BATCH, CLASSES, generator=random).double().numpy() for _ in range(2 * smooths)]
    mask = torch.rand(X.shape, generator=random, dtype=X.dtype)
    share, coin = torch.rand(2, generator=random, dtype=X.dtype).tolist()
    return drawn, mask.numpy(), share, coin, 2 * torch.rand(X.shape, generator=random, dtype=X.dtype).numpy() - 1


def start_by_numpy(table, seed=5, *, smooths=True, ratio=(0.1, 0.5), noise=1.0):
    _, mask, share, coin, uniform = draws(seed, smooths)
    replaced = mask < ratio[0] + (ratio[1] - ratio[0]) * share
    delta = np.where(replaced, noise * EPS * uniform, EPS * table.numpy()[Y.numpy()])
    return np.clip(X.numpy() + (-delta if coin < 0.5 else delta), 0, 1)


def start_of(objective, seed=5):
    objective.begin(Step(epoch=1, eps=EPS, generator=generator(seed)))
    return pair(objective, LINEAR, TEACHER)[0].start


@pytest.mark.parametrize("smoothing", [0.0, 0.6, 1.0])
def test_labels_are_smoothed_at_random(smoothing):
    found = smoothed(Y, CLASSES, smoothing, generator(2)).double().numpy()
    expected = shares(torch.rand(BATCH, CLASSES, generator=generator(2)).double().numpy(), smoothing)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(found[ROWS], 1 - smoothing, atol=1e-6)


def test_a_draw_of_zeros_is_no_division_by_zero(monkeypatch):
    monkeypatch.setattr("torch.rand", lambda *shape, **_: torch.zeros(*shape))
    assert torch.equal(smoothed(labels(2, 2), 2, 0.6, None), 0.4 * torch.eye(2))


@pytest.mark.parametrize("threat", [Linf(eps=EPS), L2(eps=EPS)], ids=lambda ball: ball.norm)
def test_the_perturbation_of_a_class_is_the_steepest_at_grey(threat):
    objective = liet(threat=threat, step=Step(batch=19, generator=generator(3)))
    objective.after_step_all({}, LINEAR)
    weight, bias = (parameter.detach().numpy() for parameter in LINEAR.parameters())
    p = softmax((weight @ np.full(36, 0.5) + bias)[None])
    q = shares(torch.rand(CLASSES, CLASSES, generator=generator(3)).double().numpy())
    gradient = (p - q) @ weight  # of CE with shares q, a row for each class
    expected = np.sign(gradient) if threat.norm == "Linf" else gradient / np.linalg.norm(gradient, axis=1, keepdims=True)
    np.testing.assert_allclose(objective.table.flatten(1).numpy(), expected, rtol=1e-6, atol=1e-7)


def test_the_perturbations_are_renewed_every_few_steps_and_at_the_end_of_an_epoch():
    objective, renewed = liet(batches=25, every=10), []
    for batch in range(25):
        objective.table.zero_()
        objective.begin(Step(batch=batch, generator=generator(batch)))
        objective.after_step_all({}, LINEAR)
        renewed += [batch] if objective.table.abs().sum() else []
    assert renewed == [9, 19, 24]


def test_the_first_batch_has_them_too_and_the_student_does_not_notice():
    student = tiny_net().train()
    before = copy.deepcopy(student.state_dict())
    objectives = [LIET(), LIET()]
    for objective in objectives:
        objective.setup_all(run_facts(student=student))
    assert objectives[0].table.abs().min() == 1
    assert torch.equal(objectives[0].table, objectives[1].table)
    assert student.training
    assert all(parameter.grad is None for parameter in student.parameters())
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    student.eval()
    evaluated = LIET()
    evaluated.setup_all(run_facts(student=student))
    assert torch.equal(evaluated.table, objectives[0].table)


def test_the_start_given_the_draws():
    sides = set()
    for seed in range(4):
        for options in ({}, {"noise": 2.0, "ratio": (0.0, 1.0)}):
            objective = liet(**options)
            found = start_of(objective, seed).numpy()
            np.testing.assert_allclose(found, start_by_numpy(objective.table, seed, **options), rtol=1e-6)
            sides.add(draws(seed)[3] < 0.5)
    assert sides == {True, False}


@pytest.mark.parametrize("threat", [Linf(eps=EPS), L2(eps=EPS)], ids=lambda ball: ball.norm)
@pytest.mark.parametrize("noise", [1.0, 2.0])
def test_start_and_attacked_images_keep_to_what_is_claimed(threat, noise):
    attack = FGSM(threat) if noise == 1 else NFGSM(threat, noise=2.0, relative_step=1.0)
    for seed in range(5):
        objective = liet(threat=threat, noise=noise, ratio=(0.0, 1.0), smoothing=0.4)
        objective.begin(Step(eps=EPS, generator=generator(seed)))
        loss, _ = pair(objective, LINEAR)
        x_adv = attack(loss, X, generator())
        for points, reach in ((loss.start, noise * EPS), (x_adv, attack.reach)):
            assert points.min() >= 0
            assert points.max() <= 1
            assert threat.distance(points - X).max() <= reach * (1 + 1e-6)
    assert attack.reach == pytest.approx({1.0: EPS, 2.0: 3 * EPS}[noise])


def test_the_start_follows_the_radius_of_the_step():
    objective = liet()
    whole = start_of(objective) - X
    objective.begin(Step(eps=EPS / 4, generator=generator(5)))
    quarter = pair(objective, LINEAR)[0].start - X
    inside = ((X > EPS) & (X < 1 - EPS)).nonzero(as_tuple=True)
    torch.testing.assert_close(quarter[inside], whole[inside] / 4)


def jsd(clean, adv):
    p, q = softmax(clean), softmax(adv)
    m = (p + q) / 2
    return (kl(p, m) + kl(q, m)) / 2


def table_with(start, seed=0):
    return LogitTable(X, X_ADV, start, seed=seed)


@pytest.mark.parametrize(("epoch", "share"), [(0, 0.25), (1, 0.5), (3, 1.0)])
def test_losses_and_gradients(epoch, share):
    objective = liet(strength=7.0)
    student = table_with(start_of(objective))
    objective.begin(Step(epoch=epoch, eps=EPS, generator=generator(5)))
    attack_loss, training_loss = pair(objective, student)
    first, second = (shares(u) for u in draws()[0])

    def smooth_ce(label):
        return lambda _, adv, __: -(label * np.log(softmax(adv))).sum(axis=1)

    np.testing.assert_allclose(attack_loss(X_ADV).detach(), smooth_ce(first)(*student.numbers(3)), rtol=1e-6)
    terms = training_loss(X_ADV)
    assert set(terms) == {"ce", "jsd"}
    assert terms["ce"].item() == pytest.approx(smooth_ce(second)(*student.numbers(3)).mean(), rel=1e-6)
    gradient = torch.autograd.grad(terms["ce"], student.logits, retain_graph=True)[0].chunk(3)[1]
    np.testing.assert_allclose(gradient, (softmax(student.numbers(3)[1]) - second) / BATCH, atol=1e-7)
    assert_loss_and_gradient(terms["jsd"], lambda _, adv, start: 7 * share * jsd(start, adv).mean(), student, 3)


def test_attack_and_training_have_labels_of_their_own_and_the_runs_smoothing_is_on_top():
    first, second = (shares(u) for u in draws()[0])
    assert np.abs(first - second).max() > 0.1
    objective = liet()
    student = table_with(start_of(objective))
    objective.begin(Step(eps=EPS, generator=generator(5), label_smoothing=0.2))
    label = 0.8 * second + 0.2 / CLASSES
    expected = -(label * np.log(softmax(student.numbers(3)[1]))).sum(axis=1).mean()
    assert pair(objective, student)[1](X_ADV)["ce"].item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("base", [lambda: ARD(alpha=0.7, temperature=3.0), RSLAD, PGDAT], ids=["ARD", "RSLAD", "PGD-AT"])
def test_around_a_method_the_losses_are_that_methods_from_liets_start(base):
    objective, alone = liet(base=base(), strength=7.0), base()
    start = start_of(objective)
    student, teacher = table_with(start), table_with(start, seed=1)
    np.testing.assert_allclose(start.numpy(), start_by_numpy(objective.table, smooths=False), rtol=1e-6)
    objective.begin(Step(epoch=1, eps=EPS, generator=generator(5)))
    (loss, training), (base_loss, base_training) = (pair(method, student, teacher) for method in (objective, alone))
    assert torch.equal(loss(X_ADV), base_loss(X_ADV))
    terms, expected = training(X_ADV), base_training(X_ADV)
    jensen_shannon = terms.pop("jsd")
    assert {name: term.item() for name, term in terms.items()} == {name: term.item() for name, term in expected.items()}
    _, adv, first = student.numbers(3)
    assert jensen_shannon.item() == pytest.approx(7 / 2 * jsd(first, adv).mean(), rel=1e-10)


@pytest.mark.parametrize("base", [None, PGDAT()], ids=["its own labels", "PGD-AT"])
def test_without_smoothing_consistency_and_a_move_it_is_adversarial_training_with_fgsm(base):
    still = liet(base=base, smoothing=0.0, strength=0.0, ratio=(1.0, 1.0), noise=0.0)
    student, x, y = tiny_net().train(), images(BATCH), labels(BATCH)

    def taken(objective):
        step = Step(eps=EPS, generator=generator(5))
        return take(copy.deepcopy(student), None, objective, FGSM(Linf(eps=EPS)), x, y, step, generator=generator(1))

    ours, theirs = taken(still.float()), taken(PGDAT())
    assert torch.equal(ours.x_adv, theirs.x_adv)
    assert ours.terms["ce"].item() == pytest.approx(theirs.terms["ce"].item(), rel=1e-6)
    assert ours.terms["jsd"] == 0


@pytest.mark.parametrize(("base", "passes"), [(None, 3), (RSLAD(), 4)], ids=["alone", "RSLAD"])
def test_a_step_asks_about_the_start_once_more_and_about_nothing_else(base, passes):
    student, teacher, asked = tiny_net().train(), tiny_net(1).eval(), []
    objective, attack = liet(base=base).float(), FGSM(Linf(eps=EPS))

    def step():
        told = Step(eps=EPS, generator=generator(5))
        return take(student, teacher, objective, attack, images(BATCH), labels(BATCH), told, generator=generator())

    step()  # in which folding is verified
    student.register_forward_hook(lambda *_: asked.append(None))
    assert step().answers is not None
    assert len(asked) == passes


def test_what_cannot_be_meant_is_refused():
    for options, line in (
        ({"smoothing": 1.2}, "smoothing = 1.2: expected at most 1"),
        ({"strength": -1}, "strength = -1: expected at least 0"),
        ({"ratio": (0.5, 0.1)}, r"ratio = \[0.5, 0.1\]: expected two shares of the pixels"),
        ({"every": 0}, "every = 0: expected at least 1"),
        ({"noise": -1}, "noise = -1"),
    ):
        with user_error(line):
            LIET(**options)
    with user_error("KD attacks nothing, and LIET needs an attack: expected a base with one"):
        pair(liet(base=KD()), LINEAR, TEACHER)
