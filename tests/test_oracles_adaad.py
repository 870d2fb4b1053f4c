"""AdaAD and IGDM from their formulas, in numpy and float64."""

import pytest
import torch
from tables import CLASSES, X_ADV, Table, X, Y, assert_inner, assert_outer, kl
from tiny import tiny_net
from torch import nn

from ard.objectives.adaad import AdaAD


def tables(**more):
    return Table(0, clean=X, adv=X_ADV, **more), Table(1, clean=X, adv=X_ADV, **more)


@pytest.mark.parametrize("mean_over_classes", [False, True])
@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_adaad(alpha, mean_over_classes):
    student, teacher = tables()
    scale, t = 1 / CLASSES if mean_over_classes else 1, teacher.numpy()
    objective = AdaAD(alpha=alpha, mean_over_classes=mean_over_classes)

    def formula(z):
        terms = {"kl_adv": scale * alpha * kl(t["adv"], z["adv"]).mean()}
        return terms if alpha == 1 else terms | {"kl_clean": scale * (1 - alpha) * kl(t["clean"], z["clean"]).mean()}

    assert_inner(objective, student, teacher, kl(t["adv"], student.numpy()["adv"]))
    assert_outer(objective, student, teacher, formula)


def test_the_attack_of_adaad_climbs_through_the_teacher():
    student, teacher = (tiny_net(seed, activation=nn.Softplus).double().eval() for seed in (0, 1))
    inner, _ = AdaAD()(student, teacher, X, Y)
    x_adv = X_ADV.clone().requires_grad_()
    (found,) = torch.autograd.grad(inner(x_adv).sum(), x_adv)
    direction = torch.randn(X.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def height(step, moves_teacher=True):
        with torch.no_grad():
            moved = X_ADV + step * direction
            return kl(teacher(moved if moves_teacher else X_ADV).numpy(), student(moved).numpy()).sum()

    both, student_alone = ((height(1e-6, moves) - height(-1e-6, moves)) / 2e-6 for moves in (True, False))
    assert (found * direction).sum().item() == pytest.approx(both, rel=1e-6)
    assert student_alone != pytest.approx(both, rel=0.05)


def test_adaad_needs_no_labels():
    student, teacher = tables()
    inner, outer = AdaAD(alpha=0.5)(student, teacher, X, None)
    assert inner(X_ADV).isfinite().all()
    assert all(term.isfinite() for term in outer(X_ADV).values())
