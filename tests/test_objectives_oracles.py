"""Every method's loss written out a second time, in numpy and float64, from the papers' formulas."""

import numpy as np
import pytest
import torch
from tiny import images, labels, tiny_net
from torch import nn

from ard.attacks import attacking
from ard.objectives.ard import ARD
from ard.objectives.kd import KD
from ard.objectives.natural import Natural
from ard.objectives.pgd_at import PGDAT
from ard.objectives.rslad import RSLAD
from ard.objectives.trades import TRADES

STUDENT = tiny_net(0, activation=nn.Softplus).double().eval()
TEACHER = tiny_net(1, activation=nn.Tanh).double().eval()
X, Y, CLASSES = images().double(), labels(), 4
X_ADV = (X + 0.6 * (images(seed=1) - 0.5)).clamp(0, 1)


def softmax(logits, temperature=1.0):
    powers = np.exp(logits / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


def kl(p, q):
    return (p * np.log(p / q)).sum(axis=1)


def ce(logits, smoothing=0.0):
    q = (1 - smoothing) * np.eye(CLASSES)[Y.numpy()] + smoothing / CLASSES
    return -(q * np.log(softmax(logits))).sum(axis=1)


def answers():
    """Student on x, student on x', teacher on x."""
    with torch.no_grad():
        return STUDENT(X).numpy(), STUDENT(X_ADV).numpy(), TEACHER(X).numpy()


def pair(objective, y=Y):
    with attacking(STUDENT, objective):
        return objective(STUDENT, TEACHER if objective.needs_teacher else None, X, y)


def assert_pair(objective, inner, terms):
    found_inner, outer = pair(objective)
    if inner is None:
        assert found_inner is None
    else:
        np.testing.assert_allclose(found_inner(X_ADV).detach(), inner, rtol=1e-10)
    found = {name: term.item() for name, term in outer(X_ADV).items()}
    assert found == pytest.approx(terms, rel=1e-10)


def test_natural():
    clean, _, _ = answers()
    assert_pair(Natural(), None, {"ce": ce(clean).mean()})


def test_pgd_at():
    _, adv, _ = answers()
    assert_pair(PGDAT(), ce(adv), {"ce": ce(adv).mean()})


@pytest.mark.parametrize(("alpha", "t"), [(0.7, 4.0), (1.0, 30.0)])
def test_kd(alpha, t):
    clean, _, teacher = answers()
    terms = {"kl": alpha * t**2 * kl(softmax(teacher, t), softmax(clean, t)).mean()}
    if alpha < 1:
        terms["ce"] = (1 - alpha) * ce(clean).mean()
    assert_pair(KD(alpha=alpha, temperature=t), None, terms)


@pytest.mark.parametrize("mean_over_classes", [False, True])
@pytest.mark.parametrize(("alpha", "t"), [(0.7, 4.0), (1.0, 30.0)])
def test_ard(alpha, t, mean_over_classes):
    clean, adv, teacher = answers()
    scale = 1 / CLASSES if mean_over_classes else 1
    terms = {"kl": scale * alpha * t**2 * kl(softmax(teacher, t), softmax(adv, t)).mean()}
    if alpha < 1:
        terms["ce"] = (1 - alpha) * ce(clean).mean()
    assert_pair(ARD(alpha=alpha, temperature=t, mean_over_classes=mean_over_classes), ce(adv), terms)


@pytest.mark.parametrize("mean_over_classes", [False, True])
@pytest.mark.parametrize("alpha", [5 / 6, 0.3])
def test_rslad(alpha, mean_over_classes):
    clean, adv, teacher = (softmax(logits) for logits in answers())
    scale = 0.1 if mean_over_classes else 1
    terms = {
        "kl_adv": scale * alpha * kl(teacher, adv).mean(),
        "kl_clean": scale * (1 - alpha) * kl(teacher, clean).mean(),
    }
    assert_pair(RSLAD(alpha=alpha, mean_over_classes=mean_over_classes), kl(teacher, adv), terms)


@pytest.mark.parametrize("beta", [6.0, 1.0])
def test_trades(beta):
    clean, adv, _ = answers()
    divergence = kl(softmax(clean), softmax(adv))
    assert_pair(TRADES(beta=beta), divergence, {"ce": ce(clean).mean(), "kl": beta * divergence.mean()})


def test_defaults_are_the_papers():
    assert [ARD().alpha, ARD().temperature, KD().alpha, KD().temperature] == [1, 30, 1, 30]
    assert [RSLAD().alpha, TRADES().beta] == [5 / 6, 6]


def torchs_default(log_q, p):
    """What the released codes call: nn.KLDivLoss(), whose mean also runs over classes."""
    return nn.functional.kl_div(log_q, p, reduction="none").mean().item()


def test_the_released_scale_of_ard_is_the_default_of_torchs_kl_loss():
    with torch.no_grad():
        theirs = 30**2 * torchs_default((STUDENT(X_ADV) / 30).log_softmax(dim=1), (TEACHER(X) / 30).softmax(dim=1))
        assert pair(ARD(mean_over_classes=True))[1](X_ADV)["kl"].item() == pytest.approx(theirs, rel=1e-10)


@pytest.mark.parametrize(("classes", "factor"), [(10, 1), (100, 10)])
def test_the_released_scale_of_rslad_is_torchs_default_and_ten_times_that_on_cifar_100(classes, factor):
    flat = X.flatten(1)
    student, teacher = (torch.randn(flat.shape[1], classes, dtype=torch.float64) for _ in range(2))
    objective = RSLAD(alpha=1.0, mean_over_classes=True)
    _, outer = objective(lambda x: x.flatten(1) @ student, lambda x: x.flatten(1) @ teacher, X, Y)
    theirs = torchs_default((X_ADV.flatten(1) @ student).log_softmax(dim=1), (flat @ teacher).softmax(dim=1))
    assert outer(X_ADV)["kl_adv"].item() == pytest.approx(factor * theirs, rel=1e-10)


def trades_gradient(x_adv, *, detached):
    clean, adv = STUDENT(X), STUDENT(x_adv)
    p, q = clean.softmax(dim=1), adv.softmax(dim=1)
    p = p.detach() if detached else p
    hard = -clean.log_softmax(dim=1)[torch.arange(len(Y)), Y].mean()
    return flat_gradient(hard + 6 * (p * (p / q).log()).sum(dim=1).mean())


def flat_gradient(loss):
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(STUDENT.parameters()))])


def test_trades_keeps_the_gradient_of_its_clean_branch():
    far = images(seed=2).double()
    found = flat_gradient(sum(pair(TRADES())[1](far).values()))
    torch.testing.assert_close(found, trades_gradient(far, detached=False), rtol=1e-9, atol=1e-12)
    assert torch.cosine_similarity(found, trades_gradient(far, detached=True), dim=0) < 0.99


@pytest.mark.parametrize(
    ("objective", "term", "share", "on_x_adv"),
    [
        (Natural(), "ce", 1.0, False),
        (PGDAT(), "ce", 1.0, True),
        (KD(alpha=0.7), "ce", 0.3, False),
        (ARD(alpha=0.7), "ce", 0.3, False),
        (TRADES(), "ce", 1.0, False),
        (RSLAD(), None, 0.0, False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_label_smoothing_changes_hard_labels_alone(objective, term, share, on_x_adv):
    clean, adv, _ = answers()
    inner, outer = pair(objective)
    before, climbed = outer(X_ADV), inner and inner(X_ADV)
    objective.label_smoothing = 0.2
    inner, outer = pair(objective)
    after = outer(X_ADV)
    assert {name for name in after if not torch.equal(after[name], before[name])} == ({term} if term else set())
    if term:
        assert after[term].item() == pytest.approx(share * ce(adv if on_x_adv else clean, 0.2).mean(), rel=1e-10)
    if inner is not None:  # the attack climbs the true label, never a smoothed one
        assert torch.equal(inner(X_ADV), climbed)


def test_rslad_needs_no_labels():
    (inner, outer), (_, with_labels) = pair(RSLAD(), y=None), pair(RSLAD())
    assert inner(X_ADV).isfinite().all()
    assert all(torch.equal(term, with_labels(X_ADV)[name]) for name, term in outer(X_ADV).items())


def test_the_body_of_trades_leaves_the_student_its_graph():
    """Its clean answer is a constant for the attack; made with grad mode on, `attacking` would refuse it."""
    inner, outer = pair(TRADES())
    x_adv = X_ADV.clone().requires_grad_()
    assert torch.autograd.grad(inner(x_adv).sum(), x_adv)[0].abs().max() > 0
    assert outer(X_ADV)["ce"].requires_grad
