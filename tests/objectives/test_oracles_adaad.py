"""AdaAD and IGDM from their formulas, in numpy and float64."""

import pytest
import torch
from answer_table import CLASSES, X_ADV, Table, X, Y, assert_attack_loss, assert_training_loss, kl
from tiny import run_facts, tiny_net, user_error
from torch import nn

from ard.losses import AttackLoss
from ard.objectives.adaad import AdaAD
from ard.objectives.ard import ARD
from ard.objectives.base import Objective, Step
from ard.objectives.igdm import IGDM
from ard.objectives.kd import KD
from ard.objectives.region_at import RegionAT
from ard.objectives.rslad import RSLAD


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

    assert_attack_loss(objective, student, teacher, kl(t["adv"], student.numpy()["adv"]))
    assert_training_loss(objective, student, teacher, formula)


def test_the_attack_of_adaad_climbs_through_the_teacher():
    student, teacher = (tiny_net(seed, activation=nn.Softplus).double().eval() for seed in (0, 1))
    attack_loss, _ = AdaAD()(student, teacher, X, Y)
    x_adv = X_ADV.clone().requires_grad_()
    (found,) = torch.autograd.grad(attack_loss(x_adv).sum(), x_adv)
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
    attack_loss, training_loss = AdaAD(alpha=0.5)(student, teacher, X, None)
    assert attack_loss(X_ADV).isfinite().all()
    assert all(term.isfinite() for term in training_loss(X_ADV).values())


@pytest.mark.parametrize(("beta", "gamma"), [(1.0, 1.0), (0.5, 2.0)])
def test_igdm(beta, gamma):
    delta = X_ADV - X
    more = {} if beta == 1 else {"ahead": X + beta * delta}
    student, teacher = tables(behind=X - gamma * delta, **more)
    t, ahead = teacher.numpy(), "adv" if beta == 1 else "ahead"
    objective = IGDM(base=RSLAD(alpha=0.3), alpha=20.0, beta=beta, gamma=gamma)
    objective.begin(Step(progress=0.25))

    def formula(z):
        change = kl(t[ahead] - t["behind"], z[ahead] - z["behind"]).mean()
        base = {"kl_adv": 0.3 * kl(t["clean"], z["adv"]).mean(), "kl_clean": 0.7 * kl(t["clean"], z["clean"]).mean()}
        return base | {"igdm": 20.0 * 0.25 * change}

    assert_attack_loss(objective, student, teacher, kl(t["clean"], student.numpy()["adv"]))
    assert_training_loss(objective, student, teacher, formula)


def test_igdm_without_a_base_is_adaad_and_begins_as_adaad():
    student, teacher = tables(behind=2 * X - X_ADV)
    assert_attack_loss(IGDM(), student, teacher, kl(teacher.numpy()["adv"], student.numpy()["adv"]))
    terms = IGDM()(student, teacher, X, Y)[1](X_ADV)
    assert terms.pop("igdm").item() == 0
    assert terms.keys() == {"kl_adv"}


class Recorded(Objective):
    """Writes down what it is told."""

    def __init__(self):
        super().__init__()
        self.heard, self.peer = [], nn.Linear(1, 1)

    def forward(self, student, teacher, x, y):
        self.heard.append(teacher)
        loss = AttackLoss(lambda x_adv: x_adv.flatten(1).sum(dim=1), centre=torch.cat([x, x]))
        return loss, lambda x_adv: {"ce": self.hard_label(student(x_adv), torch.cat([y] * 2))}

    def build(self, *, student, num_classes):
        self.heard.append(student(num_classes=num_classes))

    def setup(self, run):
        self.heard.append(run)

    def after_step(self, terms, student):
        self.heard.append((terms, student))

    def on_epoch_end(self):
        self.heard.append("epoch")

    def param_groups(self):
        return [{"params": [self.peer.weight], "lr": 3.0}]

    def diagnostics(self):
        return {"heard": torch.tensor(len(self.heard))}


@pytest.mark.parametrize("depth", [1, 2])
def test_an_objective_inside_another_is_told_everything(depth):
    """Once each, however deep it lies."""
    base = objective = Recorded()
    for _ in range(depth):
        objective = IGDM(base=objective)
    step, run, terms, student = Step(epoch=3, progress=0.5), run_facts(), {"ce": torch.tensor(1.0)}, nn.Identity()
    objective.begin(step)
    assert base.step is objective.step is step
    assert (base.epoch, base.progress, objective.progress) == (3, 0.5, 0.5)
    objective.build_all(student=lambda num_classes: num_classes, num_classes=4)
    objective.setup_all(run)
    assert objective.moves_after_step
    assert not IGDM().moves_after_step
    objective.after_step_all(terms, student)
    objective.on_epoch_end_all()
    assert base.heard == [4, run, (terms, student), "epoch"]
    assert objective.param_groups_all() == base.param_groups()
    assert objective.diagnostics_all() == base.diagnostics()
    assert objective.own_parameters() == []


def test_igdm_wants_of_labels_what_its_base_wants():
    assert [IGDM(base=base).labels for base in (RSLAD(), ARD(), Recorded())] == ["none", "soft", "class"]
    assert IGDM(base=Recorded()).needs_teacher


@pytest.mark.parametrize("base", [KD, lambda: RegionAT(base=RSLAD()), lambda: IGDM(base=KD())])
def test_igdm_without_an_attack_is_refused(base):
    """δ would be 0, and so would the term, without a word."""
    objective, (student, teacher) = IGDM(base=base()), tables()
    objective.setup_all(run_facts(num_classes=CLASSES))
    with user_error("(KD|RegionAT) attacks nothing, and IGDM needs an attack: expected a base with one"):
        objective(student, teacher, X, Y)


def test_igdm_matches_the_changes_at_every_point():
    """A base without a teacher is not handed one."""
    base, both = Recorded(), torch.cat([X_ADV, 1 - X_ADV])
    twice = torch.cat([X, X])
    student, teacher = Table(0, adv=both, behind=2 * twice - both), Table(1, adv=both, behind=2 * twice - both)
    objective = IGDM(base=base)
    objective.begin(Step(progress=1.0))
    found = objective(student, teacher, X, Y)[1](both)["igdm"].item()
    s, t = student.numpy(), teacher.numpy()
    assert found == pytest.approx(kl(t["adv"] - t["behind"], s["adv"] - s["behind"]).mean(), rel=1e-10)
    assert base.heard == [None]
