"""IKL-AT written out a second time, in numpy and float64; and the identity that gave it its two terms."""

import numpy as np
import pytest
import torch
from logit_table import BATCH, CLASSES, X_ADV, LogitTable, X, Y, assert_loss_and_gradient, ce, kl, pair, softmax
from tiny import run_facts, user_error

from ard import losses
from ard.objectives.base import Step
from ard.objectives.ikl import IKLAT, weighted_mse

SHARES = np.random.default_rng(0).dirichlet(np.ones(CLASSES), size=CLASSES)  # a prior for each class


def double_sum(m, n, s):
    """The paper's wMSE of each example: C × C differences, and the outer product of the weights."""
    apart = (m[:, :, None] - m[:, None, :]) - (n[:, :, None] - n[:, None, :])
    return (s[:, :, None] * s[:, None, :] * apart**2).sum(axis=(1, 2)) / 4


def told(**arguments):
    objective = IKLAT(**arguments).double()
    objective.setup(run_facts(num_classes=CLASSES))
    return objective.double()


def with_prior(prior, **arguments):
    objective = told(**arguments)
    objective.prior.copy_(torch.from_numpy(prior))
    return objective


@pytest.mark.parametrize(("alpha", "beta", "attack_beta"), [(4.0, 20.0, 0.0), (5.0, 12.0, 1.0)])
def test_ikl_at(alpha, beta, attack_beta):
    student, objective = LogitTable(X, X_ADV), with_prior(SHARES, alpha=alpha, beta=beta, attack_beta=attack_beta)
    attack_loss, training_loss = pair(objective, student)
    constant, s = student.numbers(2)[0], SHARES[Y.numpy()]  # where S(x) is detached

    def climbed(_, adv):
        return kl(softmax(constant), softmax(adv)) + attack_beta * double_sum(constant, adv, s)

    formulas = {
        "ce": lambda clean, _: ce(clean).mean(),
        "kl": lambda _, adv: alpha * kl(softmax(constant), softmax(adv)).mean(),
        "wmse": lambda clean, adv: beta * double_sum(clean, adv, s).mean(),
    }
    assert_loss_and_gradient(attack_loss(X_ADV), climbed, student)
    terms = training_loss(X_ADV)
    assert terms.keys() == formulas.keys() | {"prior_sums"}
    for name, formula in formulas.items():
        gradients = torch.autograd.grad(terms[name], student.logits, retain_graph=True)
        assert gradients[0].abs().max() > 0
        assert_loss_and_gradient(terms[name], formula, student)


def some_logits(scale=1.0):
    m, n = scale * torch.randn(2, 16, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return m.requires_grad_(), n.requires_grad_()


def gradients(value, *logits):
    return torch.autograd.grad(value.sum(), logits, retain_graph=True)


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_the_kl_taken_apart_has_the_gradient_of_the_kl(scale):
    """DKL: ∇KL(p_m ‖ p_n) = ∇(wMSE(m, n̄; p̄_m) − Σ p̄_m log p_n), barred what is detached, in both logits."""
    m, n = some_logits(scale)
    own = m.softmax(dim=1).detach()
    apart = weighted_mse(m, n.detach(), own) - (own * n.log_softmax(dim=1)).sum(dim=1)
    for found, expected in zip(gradients(apart, m, n), gradients(losses.kl(m, n), m, n), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14 * scale)


def test_with_a_gradient_on_both_sides_or_a_prior_it_is_another_one():
    """What IKL improves: else the comparison above could not fail."""
    m, n = some_logits()
    own, uniform = m.softmax(dim=1).detach(), torch.full_like(m, 1 / 7)
    cross = -(own * n.log_softmax(dim=1)).sum(dim=1)
    expected = gradients(losses.kl(m, n), m, n)
    both = gradients(weighted_mse(m, n, own) + cross, m, n)
    prior = gradients(weighted_mse(m, n.detach(), uniform) + cross, m, n)
    torch.testing.assert_close(both[0], expected[0])
    assert (both[1] - expected[1]).norm() > 0.1 * expected[1].norm()
    torch.testing.assert_close(prior[1], expected[1])
    assert (prior[0] - expected[0]).norm() > 0.1 * expected[0].norm()


def test_the_weighted_mse_is_the_double_sum():
    random = np.random.default_rng(1)
    m, n, s = random.normal(size=(50, 11)) * 5, random.normal(size=(50, 11)) * 5, random.dirichlet(np.ones(11) / 3, size=50)
    found = weighted_mse(*(torch.from_numpy(value) for value in (m, n, s)))
    np.testing.assert_allclose(found, double_sum(m, n, s), rtol=1e-12)
    d = m - n
    np.testing.assert_allclose(found, ((s * d**2).sum(axis=1) - (s * d).sum(axis=1) ** 2) / 2, rtol=1e-11)


def epoch(objective, batches, temperature):
    """What the engine does: a step for each (y, seed). Returns the mean softmax of each class that was shown, in numpy."""
    answers = {k: [] for k in range(CLASSES)}
    for y, seed in batches:
        student = LogitTable(X, X_ADV, seed=seed)
        terms = objective(student, None, X, torch.tensor(y))[1](X_ADV)
        objective.after_step({name: term.detach() for name, term in terms.items()}, student)
        for k, p in zip(y, softmax(student.numbers(2)[0], temperature), strict=True):
            answers[k].append(p)
    objective.on_epoch_end()
    return {k: np.mean(found, axis=0) for k, found in answers.items() if found}


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_prior_of_a_class_is_its_mean_softmax_of_the_epoch_before(temperature):
    """Classes that an epoch does not show keep what they had, at first 1/C."""
    objective = told(temperature=temperature)
    expected = np.full((CLASSES, CLASSES), 1 / CLASSES)
    np.testing.assert_allclose(objective.prior, expected)
    epochs = [
        [([0, 1, 1, 0, 0, 0], 0), ([1, 1, 1, 1, 1, 1], 1)],  # neither 2 nor 3
        [([3, 3, 0, 2, 2, 2], 2), ([3, 0, 0, 0, 0, 0], 3)],  # no 1
        [([3] * BATCH, 4)],
    ]
    for batches in epochs:
        for k, row in epoch(objective, batches, temperature).items():
            expected[k] = row
        np.testing.assert_allclose(objective.prior, expected, rtol=1e-12)
        np.testing.assert_allclose(objective.prior.sum(dim=1), 1, rtol=1e-12)
        assert not objective.sums.any()


def test_a_prior_moves_only_between_epochs():
    objective, student = told(), LogitTable(X, X_ADV)
    before = objective.prior.clone()
    terms = objective(student, None, X, Y)[1](X_ADV)
    objective.after_step({name: term.detach() for name, term in terms.items()}, student)
    assert torch.equal(objective.prior, before)
    assert terms["prior_sums"].sum(dim=1).tolist() == pytest.approx(np.bincount(Y, minlength=CLASSES).tolist())
    assert objective.state_dict().keys() == {"prior", "sums"}  # so half an epoch goes on where it was stopped


def test_ranks_add_up_to_the_batch_they_share():
    objective, student = told(), LogitTable(X, X_ADV)
    halves = [objective(student, None, X[part], Y[part])[1](X_ADV[part]) for part in (slice(2), slice(2, None))]
    whole = objective(student, None, X, Y)[1](X_ADV)
    torch.testing.assert_close(sum(half["prior_sums"] for half in halves), whole["prior_sums"])


def test_its_hard_label_is_smoothed():
    objective, student = told(), LogitTable(X, X_ADV)
    objective.begin(Step(label_smoothing=0.2))
    soft = 0.8 * np.eye(CLASSES)[Y.numpy()] + 0.2 / CLASSES
    expected = -(soft * np.log(softmax(student.numbers(2)[0]))).sum() / BATCH
    assert pair(objective, student)[1](X_ADV)["ce"].item() == pytest.approx(expected)


def test_it_wants_one_class_an_image():
    assert IKLAT().labels == "class"


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_not_above_0_is_refused(temperature):
    with user_error(rf"temperature = {temperature}: expected above 0"):
        IKLAT(temperature=temperature)
