"""Every method's loss written out a second time, in numpy and float64, from the papers' formulas."""

import pytest
import torch
from answer_table import CLASSES, X_ADV, Table, X, Y, assert_attack_loss, assert_training_loss, ce, kl
from tiny import images, tiny_net
from torch import nn

from ard.attacks import attacking
from ard.objectives.ard import ARD
from ard.objectives.base import Step
from ard.objectives.kd import KD
from ard.objectives.natural import Natural
from ard.objectives.pgd_at import PGDAT
from ard.objectives.rslad import RSLAD
from ard.objectives.trades import TRADES

STUDENT = tiny_net(0, activation=nn.Softplus).double().eval()
TEACHER = tiny_net(1, activation=nn.Tanh).double().eval()


def pair(objective, y=Y):
    with attacking(STUDENT, objective):
        return objective(STUDENT, TEACHER if objective.needs_teacher else None, X, y)


def assert_losses(objective, attack_loss, formula):
    """What the attack climbs, and each term of the loss; both of the logits, the student's and the teacher's on x."""
    student, teacher = Table(0, clean=X, adv=X_ADV), Table(1, clean=X)
    told = {"teacher": teacher.numpy()["clean"]}
    teacher = teacher if objective.needs_teacher else None
    if attack_loss is None:
        assert objective(student, teacher, X, Y)[0] is None
    else:
        assert_attack_loss(objective, student, teacher, attack_loss(student.numpy() | told))
    assert_training_loss(objective, student, teacher, lambda z: formula(z | told))


def climbs_labels(z):
    return ce(z["adv"])


def test_natural():
    assert_losses(Natural(), None, lambda z: {"ce": ce(z["clean"]).mean()})


def test_pgd_at():
    assert_losses(PGDAT(), climbs_labels, lambda z: {"ce": ce(z["adv"]).mean()})


@pytest.mark.parametrize(("alpha", "t"), [(0.7, 4.0), (1.0, 30.0)])
def test_kd(alpha, t):
    def formula(z):
        terms = {"kl": alpha * t**2 * kl(z["teacher"], z["clean"], t).mean()}
        return terms if alpha == 1 else terms | {"ce": (1 - alpha) * ce(z["clean"]).mean()}

    assert_losses(KD(alpha=alpha, temperature=t), None, formula)


@pytest.mark.parametrize("mean_over_classes", [False, True])
@pytest.mark.parametrize(("alpha", "t"), [(0.7, 4.0), (1.0, 30.0)])
def test_ard(alpha, t, mean_over_classes):
    scale = 1 / CLASSES if mean_over_classes else 1

    def formula(z):
        terms = {"kl": scale * alpha * t**2 * kl(z["teacher"], z["adv"], t).mean()}
        return terms if alpha == 1 else terms | {"ce": (1 - alpha) * ce(z["clean"]).mean()}

    assert_losses(ARD(alpha=alpha, temperature=t, mean_over_classes=mean_over_classes), climbs_labels, formula)


@pytest.mark.parametrize("mean_over_classes", [False, True])
@pytest.mark.parametrize("alpha", [5 / 6, 0.3])
def test_rslad(alpha, mean_over_classes):
    scale = 0.1 if mean_over_classes else 1

    def formula(z):
        return {
            "kl_adv": scale * alpha * kl(z["teacher"], z["adv"]).mean(),
            "kl_clean": scale * (1 - alpha) * kl(z["teacher"], z["clean"]).mean(),
        }

    assert_losses(RSLAD(alpha=alpha, mean_over_classes=mean_over_classes), lambda z: kl(z["teacher"], z["adv"]), formula)


@pytest.mark.parametrize("beta", [6.0, 1.0])
def test_trades(beta):
    def formula(z):
        return {"ce": ce(z["clean"]).mean(), "kl": beta * kl(z["clean"], z["adv"]).mean()}

    assert_losses(TRADES(beta=beta), lambda z: kl(z["clean"], z["adv"]), formula)


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
    _, training_loss = objective(lambda x: x.flatten(1) @ student, lambda x: x.flatten(1) @ teacher, X, Y)
    theirs = torchs_default((X_ADV.flatten(1) @ student).log_softmax(dim=1), (flat @ teacher).softmax(dim=1))
    assert training_loss(X_ADV)["kl_adv"].item() == pytest.approx(factor * theirs, rel=1e-10)


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
    attack_loss, training_loss = pair(objective)
    before, climbed = training_loss(X_ADV), attack_loss and attack_loss(X_ADV)
    objective.begin(Step(label_smoothing=0.2))
    attack_loss, training_loss = pair(objective)
    after = training_loss(X_ADV)
    assert {name for name in after if not torch.equal(after[name], before[name])} == ({term} if term else set())
    if term:
        answer = STUDENT(X_ADV if on_x_adv else X).detach().numpy()
        assert after[term].item() == pytest.approx(share * ce(answer, 0.2).mean(), rel=1e-10)
    if attack_loss is not None:  # the attack climbs the true label, never a smoothed one
        assert torch.equal(attack_loss(X_ADV), climbed)


def test_rslad_needs_no_labels():
    (attack_loss, training_loss), (_, with_labels) = pair(RSLAD(), y=None), pair(RSLAD())
    assert attack_loss(X_ADV).isfinite().all()
    assert all(torch.equal(term, with_labels(X_ADV)[name]) for name, term in training_loss(X_ADV).items())


def test_the_body_of_trades_leaves_the_student_its_graph():
    """Its clean answer is a constant for the attack; made with grad mode on, `attacking` would refuse it."""
    attack_loss, training_loss = pair(TRADES())
    x_adv = X_ADV.clone().requires_grad_()
    assert torch.autograd.grad(attack_loss(x_adv).sum(), x_adv)[0].abs().max() > 0
    assert training_loss(X_ADV)["ce"].requires_grad
