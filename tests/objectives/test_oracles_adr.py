"""ADR's label, losses, gradients and average written out a second time, in numpy and float64."""

import copy

import numpy as np
import pytest
import torch
from logit_table import CLASSES, ROWS, X_ADV, LogitTable, X, Y, assert_loss_and_gradient, kl, pair, softmax
from tiny import generator, images, labels, run_facts, tiny_net, user_error
from torch import nn

from ard.attacks import PGD, Linf, frozen_mode
from ard.objectives.adaad import AdaAD
from ard.objectives.adr import ADR, GivenAnswer
from ard.objectives.ard import ARD
from ard.objectives.base import Step
from ard.objectives.igdm import IGDM
from ard.objectives.mart import MART
from ard.objectives.pgd_at import PGDAT
from ard.objectives.rslad import RSLAD
from ard.objectives.saad import SAAD
from ard.objectives.trades import TRADES
from ard.training.step import take

PROGRESS = [0.0, 0.3, 1.0]
at_each_progress = pytest.mark.parametrize("progress", PROGRESS)
HOT = np.eye(CLASSES)[Y.numpy()]


def averaged():
    """Right about some images, of which two surely, and wrong about others, of which one so surely that λ_i is 0."""
    table = LogitTable(X, seed=3)
    with torch.no_grad():
        table.logits[0, Y[0]] += 9
        table.logits[1] = torch.tensor([9.0, 0.0, -1.0, 1.0])  # its class is 1
    return table


def made(progress, **options):
    """ADR in a run whose average answers from a table, which a copy of it does, too."""
    objective = ADR(**options)
    objective.setup_all(run_facts(student=averaged()))
    objective.begin(Step(progress=progress))
    return objective


def label(progress, temperatures=(2.5, 2.0), lambdas=(0.7, 0.95)):
    """P from the paper's formula, an image at a time."""
    tau, lam = (end + 0.5 * (start - end) * (1 + np.cos(np.pi * progress)) for start, end in (temperatures, lambdas))
    rows, trusts = [], []
    for logits, y in zip(averaged().numbers(1)[0], Y.tolist(), strict=True):
        q = np.exp(logits / tau) / np.exp(logits / tau).sum()
        trusts.append(min(max(lam - (max(q) - q[y]), 0.0), 1.0))
        rows.append([trusts[-1] * q[k] + (1 - trusts[-1]) * (k == y) for k in range(CLASSES)])
    return np.array(rows), np.array(trusts)


def soft_ce(p, logits):
    return -(p * np.log(softmax(logits))).sum(axis=1)


@at_each_progress
def test_the_label(progress):
    expected, trusts = label(progress)
    assert trusts[1] == 0
    assert (np.delete(trusts, 1) > 0).all()
    objective = made(progress)
    found = objective.label(X, Y)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(found[1], HOT[1], rtol=0, atol=0)
    assert not found.requires_grad
    means = {name: value.item() for name, value in objective.diagnostics().items()}
    assert means == pytest.approx({"label_true": expected[ROWS].mean(), "label_lambda": trusts.mean()})


def test_the_ends_of_temperature_and_lambda_are_those_that_were_given():
    for progress, tau, lam in ((0.0, 1.5, 0.5), (1.0, 1.0, 0.9)):
        expected, _ = label(0.0, (tau, tau), (lam, lam))
        np.testing.assert_allclose(made(progress, temperatures=(1.5, 1.0), lambdas=(0.5, 0.9)).label(X, Y), expected)


@at_each_progress
def test_around_adversarial_training(progress):
    student, p = LogitTable(X, X_ADV), label(progress)[0]
    attack_loss, training_loss = pair(made(progress), student)
    assert_loss_and_gradient(attack_loss(X_ADV), lambda _, adv: soft_ce(p, adv), student)
    terms = training_loss(X_ADV)
    assert set(terms) == {"ce"}
    assert_loss_and_gradient(terms["ce"], lambda _, adv: soft_ce(p, adv).mean(), student)


@at_each_progress
def test_around_trades_it_is_the_label_of_the_cross_entropy_alone(progress):
    student, p = LogitTable(X, X_ADV), label(progress)[0]
    target = softmax(student.numbers(2)[0])
    attack_loss, training_loss = pair(made(progress, base=TRADES(beta=3.0)), student)
    assert_loss_and_gradient(attack_loss(X_ADV), lambda _, adv: kl(target, softmax(adv)), student)
    terms = training_loss(X_ADV)
    assert_loss_and_gradient(terms["ce"], lambda clean, _: soft_ce(p, clean).mean(), student)
    assert_loss_and_gradient(terms["kl"], lambda clean, adv: 3 * kl(softmax(clean), softmax(adv)).mean(), student)


def floored(p):
    """As a teacher's logits can say it: of a share of 0 there is no logarithm."""
    return np.maximum(p, np.finfo(np.float32).tiny)


@at_each_progress
def test_in_the_place_of_rslads_teacher(progress):
    student, p = LogitTable(X, X_ADV), floored(label(progress)[0])
    attack_loss, training_loss = pair(made(progress, base=RSLAD(alpha=0.7), as_teacher=True), student)
    assert_loss_and_gradient(attack_loss(X_ADV), lambda _, adv: kl(p, softmax(adv)), student)
    terms = training_loss(X_ADV)
    assert_loss_and_gradient(terms["kl_adv"], lambda _, adv: 0.7 * kl(p, softmax(adv)).mean(), student)
    assert_loss_and_gradient(terms["kl_clean"], lambda clean, _: 0.3 * kl(p, softmax(clean)).mean(), student)


def test_in_the_place_of_ards_teacher_y_stays_in_the_cross_entropy_and_p_is_tempered():
    student, t = LogitTable(X, X_ADV), 4.0
    tempered = floored(label(0.3)[0]) ** (1 / t)
    tempered /= tempered.sum(axis=1, keepdims=True)
    attack_loss, training_loss = pair(made(0.3, base=ARD(alpha=0.6, temperature=t), as_teacher=True), student)
    assert_loss_and_gradient(attack_loss(X_ADV), lambda _, adv: soft_ce(HOT, adv), student)
    terms = training_loss(X_ADV)
    expected = 0.6 * t**2
    assert_loss_and_gradient(terms["kl"], lambda _, adv: expected * kl(tempered, softmax(adv, t)).mean(), student)
    assert_loss_and_gradient(terms["ce"], lambda clean, _: 0.4 * soft_ce(HOT, clean).mean(), student)


class Run:
    """Steps in a plain loop, with what the average must be, computed in numpy beside it."""

    def __init__(self, objective, count=6):
        self.objective, self.student, self.count = objective, tiny_net(activation=nn.Softplus), count
        self.teacher = tiny_net(7, activation=nn.Softplus).eval().requires_grad_(False)
        objective.build_all(student=lambda *, num_classes: tiny_net(5, classes=num_classes), num_classes=4)
        objective.setup_all(run_facts(student=self.student))
        self.mean = self.state()
        groups = [{"params": self.student.parameters()}, *objective.param_groups_all()]
        self.optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, weight_decay=1e-2)
        self.attack = PGD(Linf(eps=0.1), steps=2, relative_step=0.5)

    def state(self):
        return {name: value.double().numpy().copy() for name, value in self.student.state_dict().items()}

    def step(self, number, mode="eval"):
        self.student.train()
        self.objective.train()
        told, random = Step(progress=number / 4, eps=0.1, generator=generator(number)), generator(100 + number)
        batch = images(self.count, seed=number), labels(self.count)
        taken = take(self.student, self.teacher, self.objective, self.attack, *batch, told, generator=random, mode=mode)
        self.optimizer.zero_grad()
        taken.loss.backward()
        self.optimizer.step()
        with frozen_mode(self.student):
            self.objective.after_step_all({}, self.student)
        for name, value in self.state().items():
            self.mean[name] = value if name.endswith("tracked") else 0.995 * self.mean[name] + 0.005 * value
        return taken

    def assert_followed(self, average):
        for name, value in average.module.state_dict().items():
            np.testing.assert_allclose(value.double(), self.mean[name], rtol=1e-6, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_the_average_after_three_steps_batchnorm_statistics_too(mode):
    run = Run(ADR())
    before, untrained = run.state(), copy.deepcopy(run.objective.average.module)
    for number in range(3):
        run.step(number, mode)
        run.assert_followed(run.objective.average)
    for name in ("0.weight", "1.running_mean", "1.running_var"):
        assert abs(run.mean[name] - before[name]).max() > 1e-5, name
    assert not any(part.training for part in run.objective.average.modules()), "in train mode its statistics would move"
    assert not any(parameter.requires_grad for parameter in run.objective.average.parameters())
    assert run.objective.param_groups_all() == []
    x, y = images(), labels()
    found, run.objective.average.module = run.objective.label(x, y), untrained
    assert not torch.equal(found, run.objective.label(x, y)), "it is the average that is asked, as it is now"


@pytest.mark.parametrize("base", [PGDAT, TRADES])
def test_with_lambda_0_it_is_the_method_inside_bit_for_bit(base):
    ours, theirs = Run(ADR(base=base(), lambdas=(0.0, 0.0))), Run(base())
    for number in range(3):
        assert torch.equal(ours.step(number).x_adv, theirs.step(number).x_adv)
    assert all(
        torch.equal(*pair) for pair in zip(*(run.student.state_dict().values() for run in (ours, theirs)), strict=True)
    )
    other = Run(ADR(base=base()))
    other.step(0)
    assert not torch.equal(other.student[0].weight, Run(base()).student[0].weight)


@pytest.mark.parametrize("around", [False, True], ids=["alone", "in IGDM"])
@pytest.mark.parametrize(
    "options", [{}, {"base": TRADES()}, {"base": RSLAD(), "as_teacher": True}], ids=["PGD-AT", "TRADES", "RSLAD"]
)
def test_it_goes_on_from_its_state_with_the_same_bits(options, around):
    def objective():
        own = ADR(**copy.deepcopy(options))
        return IGDM(base=own) if around else own

    alone, stopped = Run(objective()), Run(objective())
    for run in (alone, stopped):
        for number in range(2):
            run.step(number)
    resumed = Run(objective())
    resumed.student.load_state_dict(stopped.student.state_dict())
    resumed.optimizer.load_state_dict(stopped.optimizer.state_dict())
    resumed.objective.load_state_dict(stopped.objective.state_dict())
    terms = [run.step(2).terms for run in (alone, resumed)]
    assert {"igdm"} & set(terms[0]) == ({"igdm"} if around else set())
    for part in ("student", "objective"):
        states = [getattr(run, part).state_dict() for run in (alone, resumed)]
        assert [name for name in states[0] if not torch.equal(states[0][name], states[1][name])] == []


@pytest.mark.parametrize("options", [{}, {"base": RSLAD(), "as_teacher": True}], ids=["PGD-AT", "RSLAD"])
def test_a_batch_of_one(options):
    objective = made(0.3, **options)
    assert objective.label(X[:1], Y[:1]).shape == (1, CLASSES)
    torch.testing.assert_close(objective.label(X[:1], Y[:1]), objective.label(X, Y)[:1])
    terms = objective(LogitTable(X, X_ADV), None, X[:1], Y[:1])[1](X_ADV[:1])
    assert all(term.isfinite() for term in terms.values())


def test_in_half_precision_the_softmax_is_float32():
    objective = made(0.3)
    objective.average.module.logits.data = objective.average.module.logits.data.to(torch.bfloat16)
    assert objective.label(X, Y).dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"base": RSLAD()}, "RSLAD looks at no label: expected a base that learns .* as_teacher: true"),
        ({"base": MART()}, "MART wants one class an image"),
        ({"base": ADR()}, "ADR wants one class an image"),
        ({"as_teacher": True}, "as_teacher = true: PGDAT has no teacher"),
        ({"base": IGDM(base=RSLAD()), "as_teacher": True}, "IGDM asks its teacher about other images than x"),
        ({"base": AdaAD(), "as_teacher": True}, "AdaAD asks its teacher about other images than x"),
        ({"base": SAAD(), "as_teacher": True}, "SAAD asks its teacher about other images than x"),
        ({"temperatures": (2.5,)}, r"temperatures = \[2.5\]: expected two numbers above 0"),
        ({"temperatures": (2.5, 0.0)}, r"temperatures = \[2.5, 0.0\]: expected two numbers above 0"),
        ({"lambdas": (0.7, 1.1)}, r"lambdas = \[0.7, 1.1\]: expected two numbers in \[0, 1\]"),
        ({"decay": 1.0}, r"decay = 1.0: expected a number in \(0, 1\)"),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_made(options, line):
    with user_error(line):
        ADR(**options)


def test_an_answer_is_of_its_own_images():
    class Asks(RSLAD):
        """Says that it asks about x alone, and does not."""

        def forward(self, student, teacher, x, y):
            return super().forward(student, teacher, x.clone(), y)

    answer = GivenAnswer(X, torch.zeros(len(X), CLASSES), "Asks")
    assert torch.equal(answer(X), answer.logits)
    with user_error("Asks asks about other images than the x that the answer is of: expected"):
        pair(made(0.0, base=Asks(), as_teacher=True), LogitTable(X, X_ADV))
