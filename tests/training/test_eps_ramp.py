"""The radius over training: held at 0, then rising; what is attacked when, and what knows the whole radius all the time."""

import warnings
from types import SimpleNamespace

import pytest
import torch
from graph_double import recorded
from pytorch_lightning import Callback
from recipe_steps import Steps
from shipped_recipes import CONFIGS
from tiny import images, labels, tiny_net

from ard.attacks import L2, PGD, Linf
from ard.losses import AttackLoss, cross_entropy
from ard.objectives.base import Step
from ard.training.attack_schedule import AttackSchedule
from ard.training.captured import MOST, Graphs
from ard.training.replays import replay
from ard.training.schedule import Training
from ard.training.step import unattacked

EPS = 0.1
RAMP = "--model.training.eps_ramp=[0.26, 0.76]"
SHORT = ["--trainer.max_epochs=8", "--trainer.limit_val_batches=1"]
RADII = [0, 0, 0.23, 0.48, 0.73, 0.98, 1, 1]  # ((e + 1) / 8 − 0.26) / 0.5, of the whole


class Reach(Callback):
    """In each epoch: the radius of every step, how far the attack went, and the student's weights."""

    def __init__(self):
        self.eps, self.reach, self.states = [], [], []

    def on_train_start(self, trainer, engine):  # noqa: ARG002
        real = engine.attack_batch

        def watched(*arguments):
            found = real(*arguments)
            self.reach[-1] = max(self.reach[-1], float((found.x_adv - arguments[4]).abs().max()))
            self.eps[-1].add(arguments[6].eps)
            return found

        engine.attack_batch = watched

    def on_train_epoch_start(self, trainer, engine):  # noqa: ARG002
        self.eps.append(set())
        self.reach.append(0.0)

    def on_train_batch_end(self, trainer, engine, outputs, batch, batch_idx):  # noqa: ARG002
        self.states.append({name: value.clone() for name, value in engine.student.state_dict().items()})


@pytest.fixture(scope="module")
def run(fit, tmp_path_factory):
    place, seen, natural = tmp_path_factory.mktemp("ramp"), Reach(), Reach()
    engine = fit(place / "pgd_at", "pgd_at", *SHORT, RAMP, callbacks=[seen]).model
    fit(place / "natural", "natural", *SHORT, callbacks=[natural])
    return SimpleNamespace(engine=engine, seen=seen, natural=natural, place=place / "pgd_at")


def test_no_epoch_is_attacked_beyond_its_radius(run):
    whole = run.engine.threat.eps
    assert [len(values) for values in run.seen.eps] == [1] * 8
    assert [max(values) / whole for values in run.seen.eps] == pytest.approx(RADII, abs=1e-12)
    assert run.seen.eps[-1] == {whole}
    for reach, share in zip(run.seen.reach, RADII, strict=True):
        assert reach <= share * whole * (1 + 1e-6)
        assert reach >= share * whole * 0.9
    assert run.engine.val_attack.ball.eps == whole


def test_as_long_as_it_is_0_pgd_at_is_natural_training_to_the_bit(run):
    for step in range(6):
        ours, theirs = run.seen.states[step], run.natural.states[step]
        same = all(torch.equal(value, theirs[name]) for name, value in ours.items())
        assert same == (step < 4), step  # two epochs of two steps


def test_the_card_has_the_whole_radius_and_the_ramp(run):
    card = torch.load(run.place / "last.ckpt", weights_only=True)["ard"]
    assert card["threat"]["eps"] == run.engine.threat.eps
    assert card["training"]["block"]["eps_ramp"] == [0.26, 0.76]


def pflop(place):
    return torch.load(place / "last.ckpt", weights_only=True)["ard"]["training"]["pflop"]


def test_the_computation_of_steps_without_an_attack_is_not_counted_as_attacked(run, fit, tmp_path):
    fit(tmp_path, "pgd_at")  # one epoch
    ramped, whole, natural = (pflop(place) for place in (run.place, tmp_path, run.place.parent / "natural"))
    assert ramped == pytest.approx(2 / 8 * natural + 6 * whole, rel=1e-3)


@pytest.mark.parametrize(
    ("ramp", "epochs", "expected"),
    [
        ((0, 1), 4, [0.25, 0.5, 0.75, 1]),  # IKL: eps e / E, e from 1
        ((0.26, 0.76), 50, [0] * 13 + [step / 25 for step in range(1, 25)] + [1] * 13),  # T1 = 12, T2 = 37
        (None, 3, [1, 1, 1]),
    ],
)
def test_the_share_of_the_radius(ramp, epochs, expected):
    found = [Training(eps_ramp=ramp).radius_share((epoch + 1) / epochs) for epoch in range(epochs)]
    assert found == pytest.approx(expected, abs=1e-12)
    assert [share in (0, 1) for share in found] == [share in (0, 1) for share in expected]


@pytest.mark.parametrize("ball", [Linf(EPS), L2(EPS)])
def test_steps_and_starts_scale_with_the_radius_and_an_attack_is_built_once(ball):
    made = []

    def make(ball):
        made.append(ball.eps)
        return PGD(ball, steps=4)

    attacks = AttackSchedule(make, ball, PGD(ball, steps=4))
    half, again = attacks(ball.scaled(0.5)), attacks(ball.scaled(0.5))
    assert half is again
    assert made == [EPS / 2]
    assert half.step_size == attacks.whole.step_size / 2
    assert attacks(ball.scaled(1)) is attacks.whole
    assert attacks(ball.scaled(0)) is unattacked
    assert (ball.eps, type(half.ball)) == (EPS, type(ball))


def test_an_attack_may_be_any_function_of_loss_and_images():
    """It knows no ball: built once for the threat, and once for each smaller one."""
    threat, made = Linf(eps=0.1), []

    def make(ball):
        made.append(ball.eps)
        return lambda loss, x, generator: x  # noqa: ARG005

    attacks = AttackSchedule(make, threat, make(ball=threat))
    assert attacks(threat) is attacks(threat)
    half = threat.scaled(0.5)
    assert attacks(half) is attacks(threat.scaled(0.5))
    assert made == [0.1, 0.05]


def test_without_a_radius_every_point_is_its_centre():
    x = images(2)
    assert unattacked(lambda x: x, x, torch.Generator()) is x
    assert torch.equal(
        unattacked(AttackLoss(lambda x: x, centre=torch.cat([x, x])), x, torch.Generator()), torch.cat([x, x])
    )


def test_a_perturbation_that_persists_stays_in_the_ball_of_the_step():
    net, x, y, seen = tiny_net(), images(4), labels(4), []

    def loss(x_adv):
        seen.append(float((x_adv.detach() - x).abs().max()))
        return {"ce": cross_entropy(net(x_adv), y).mean()}

    def descend(terms):
        terms["ce"].backward()

    wide = torch.full_like(x, EPS)
    for share in (0, 0.25, 1):
        delta = replay(loss, x, wide, ball=Linf(EPS).scaled(share), count=2, descend=descend)
        assert delta.abs().max() <= share * EPS
        assert max(seen) <= share * EPS + 1e-7
        seen.clear()


def test_a_graph_follows_the_radius_to_the_same_bits_and_says_nothing():
    """More radii than captures are allowed for one; the first is 0."""
    path = next(path for path in (CONFIGS / "methods").glob("pgd_at.yaml"))
    graphs, ball = Graphs(recorded, "cpu"), Linf(EPS)
    runs = [Steps(path), Steps(path, graphs)]
    attacks = [AttackSchedule(lambda ball: PGD(ball, steps=2), ball, PGD(ball, steps=2)) for _ in runs]
    captures = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for epoch in range(MOST + 4):
            now = ball.scaled(min(epoch / (MOST + 2), 1))
            for batch in range(3):
                found = [one(run, attack(now), now, 3 * epoch + batch) for run, attack in zip(runs, attacks, strict=True)]
                assert torch.equal(*found)
            captures += graphs.captures * (epoch < MOST + 3)
    assert captures == MOST + 2  # one for each radius but 0; the last two epochs share theirs
    assert graphs.reason is None
    assert all(
        torch.equal(value, runs[1].student.state_dict()[name]) for name, value in runs[0].student.state_dict().items()
    )


def one(run, attack, ball, number):
    x, y, step = images(4, seed=number), labels(4), Step(eps=ball.eps, batch=number)
    run.student.train()
    moving = run.student, None, run.objective
    made = run.attack_batch(*moving, attack, x, y, step, run.drawing(number), "eval")
    learn = getattr(run.attack_batch, "learn", None)
    terms = learn(run.student, run.objective, made, step).terms if learn else made.training_loss(made.x_adv)
    found = made.x_adv.clone()
    run.descend(terms)
    return found
