"""Methods that ask much of the contract, some of them not in ard yet: what they need of it is there and reaches them.

Each stands for a need. LIET: a start, the batch's number, and the student after a step. NuAT: a start, and another attack
loss every other batch. FGSM-MEP: which images a batch shows, and the attack's gradient. All of them train for two steps,
alone and inside IGDM, which tells them what it is told.
"""

import pytest
import torch
from tiny import generator, images, labels, run_facts, tiny_net
from torch import nn
from torch.nn.functional import mse_loss

from ard.attacks import FGSM, PGD, Linf, frozen_mode
from ard.losses import AttackLoss, cross_entropy
from ard.objectives.base import Objective, Step
from ard.objectives.igdm import IGDM
from ard.objectives.liet import LIET
from ard.objectives.nuat import NuAT
from ard.objectives.rslad import RSLAD
from ard.training.step import take

EPS, CLASSES, BATCH = 0.1, 4, 8


class FGSMMEP(Objective):
    """Jia et al., ECCV 2022: each image's attack begins where its attacks of earlier epochs led."""

    def setup(self, run):
        self.delta, self.momentum = (nn.Buffer(torch.zeros(run.image_count, *run.image_shape)) for _ in range(2))

    def forward(self, student, teacher, x, y):  # noqa: ARG002
        start = x + self.delta[self.step.known_image_indices]
        attack_loss = AttackLoss(lambda x_adv: cross_entropy(student(x_adv), y), start=start)
        self.pending = attack_loss

        def training(x_adv):
            adv = student(x_adv)
            return {"ce": self.hard_label(adv, y), "mse": 10 * mse_loss(adv, student(start))}

        return attack_loss, training

    def after_step(self, terms, student):  # noqa: ARG002
        gradient, i, eps = self.pending.gradient, self.step.known_image_indices, self.step.eps
        self.momentum[i] = gradient / gradient.abs().sum() + 0.3 * self.momentum[i]
        self.delta[i] = (self.delta[i] + eps * self.momentum[i].sign()).clamp(-eps, eps)


METHODS = {
    "LIET": lambda: LIET(every=2),
    "LIET around RSLAD": lambda: LIET(base=RSLAD(), every=2),
    "NuAT": lambda: NuAT(),
    "FGSM-MEP": lambda: FGSMMEP(),
}


class Path:
    """An attack, and whether it began in each batch where the objective said."""

    def __init__(self, attack):
        self.attack, self.followed = attack, []

    def __call__(self, loss, x, generator):
        asked = []
        plain = AttackLoss.of(loss)
        inside = plain.loss
        plain.loss = lambda x_adv: (asked.append(x_adv.detach()), inside(x_adv))[1]
        x_adv = self.attack(plain, x, generator)
        self.followed.append(plain.start is not None and torch.equal(asked[0], plain.start))
        return x_adv


def another_student(*, num_classes):
    return tiny_net(5, classes=num_classes, activation=nn.Softplus)


def trained(objective, attack, *, batches=2):
    """A student after two steps, whether each attack began where it was to, each step's terms: a plain loop, no trainer."""
    student, teacher = tiny_net(activation=nn.Softplus), tiny_net(7).eval().requires_grad_(False)
    objective.build_all(student=another_student, num_classes=CLASSES)
    facts = run_facts(
        student=student, teacher=teacher, num_classes=CLASSES, image_count=16, batches=batches, threat=Linf(eps=EPS)
    )
    objective.setup_all(facts)
    optimizer = torch.optim.SGD([{"params": student.parameters()}, *objective.param_groups_all()], lr=0.1)
    path, seen = Path(attack), []
    for batch in range(batches):
        student.train()
        objective.train()
        shown = 2 * torch.arange(BATCH) + batch
        told = Step(batch=batch, progress=batch / batches, eps=EPS, generator=generator(batch), image_indices=shown)
        x, y = images(BATCH, seed=batch), labels(BATCH)
        taken = take(student, teacher, objective, path, x, y, told, generator=generator(batch))
        optimizer.zero_grad()
        taken.loss.backward()
        optimizer.step()
        with frozen_mode(student):
            objective.after_step_all({name: term.detach() for name, term in taken.terms.items()}, student)
        seen.append(taken.terms)
    objective.on_epoch_end_all()
    return student, path.followed, seen


@pytest.mark.parametrize("inside", [False, True], ids=["alone", "in IGDM"])
@pytest.mark.parametrize(
    "attack", [FGSM(Linf(eps=EPS)), PGD(Linf(eps=EPS), steps=2, relative_step=0.5)], ids=["FGSM", "PGD"]
)
@pytest.mark.parametrize("name", METHODS)
def test_it_trains_two_steps(name, attack, inside):
    method = METHODS[name]()
    objective = IGDM(base=method) if inside else method
    before = tiny_net(activation=nn.Softplus).state_dict()
    student, followed, seen = trained(objective, attack)
    assert all(term.isfinite() for terms in seen for term in terms.values())
    assert all(("igdm" in terms) == inside for terms in seen)
    assert not torch.equal(student[0].weight, before["0.weight"])
    assert followed == [True] * 2
    fresh = METHODS[name]()
    fresh.build_all(student=another_student, num_classes=CLASSES)
    fresh.setup_all(run_facts(student=tiny_net(8), num_classes=CLASSES, image_count=16, threat=Linf(eps=EPS)))
    fresh.load_state_dict(method.state_dict())  # a run that goes on has all of it


@pytest.mark.parametrize("inside", [False, True], ids=["alone", "in IGDM"])
def test_liets_table_is_drawn_from_the_student_after_every_other_step(inside):
    method = LIET(every=2, smoothing=0.0)
    student, _, _ = trained(IGDM(base=method) if inside else method, FGSM(Linf(eps=EPS)))
    grey = torch.full((CLASSES, 1, 6, 6), 0.5, requires_grad=True)
    cross_entropy(student.eval()(grey), torch.arange(CLASSES)).sum().backward()
    assert torch.equal(method.table, grey.grad.sign())


def test_nuats_attack_loss_changes_every_other_batch():
    method, student, x, y = NuAT(), tiny_net().eval(), images(BATCH), labels(BATCH)
    method.setup_all(run_facts(student=student))
    values = []
    for batch in range(3):
        method.begin(Step(epoch=1, batch=batch, eps=EPS, generator=generator(1)))
        values.append(method(student, None, x, y)[0](images(BATCH, seed=1)))
    assert torch.equal(values[0], values[2])
    assert (values[1] > values[0]).all()


@pytest.mark.parametrize("inside", [False, True], ids=["alone", "in IGDM"])
def test_fgsm_mep_remembers_of_the_images_it_was_shown(inside):
    method = FGSMMEP()
    trained(IGDM(base=method) if inside else method, FGSM(Linf(eps=EPS)), batches=1)
    moved = method.delta.flatten(1).abs().amax(dim=1) > 0
    assert moved.tolist() == [True, False] * BATCH
    assert method.delta.abs().max() == pytest.approx(EPS)
