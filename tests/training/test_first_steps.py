"""An attack whose steps grow during training: how many there are when, how long each is, and what the run then costs."""

import warnings

import pytest
import torch
from graph_double import recorded
from pytorch_lightning import Callback
from recipe_steps import Steps
from shipped_recipes import CONFIGS
from tiny import images, labels, tiny_net, user_error

from ard.attacks import FGSM, L2, PGD, Linf
from ard.doctor.planned_run import PlannedRun
from ard.objectives.base import Step
from ard.objectives.pgd_at import PGDAT
from ard.training.attack_schedule import AttackSchedule
from ard.training.captured import MOST, Graphs
from ard.training.distillation import Distillation
from ard.training.replays import FreeDistillation
from ard.training.schedule import Training

EPS = 0.1
GROW = "--model.training.first_steps=2"


class Asked(Callback):
    """In each epoch: how many steps the attack of training took, and how long each was."""

    def __init__(self):
        self.steps, self.lengths = [], []

    def on_train_start(self, trainer, engine):  # noqa: ARG002
        real = engine.attack_batch

        def watched(*arguments):
            self.steps[-1].add(arguments[3].steps)
            self.lengths[-1].add(arguments[3].step_size)
            return real(*arguments)

        engine.attack_batch = watched

    def on_train_epoch_start(self, trainer, engine):  # noqa: ARG002
        self.steps.append(set())
        self.lengths.append(set())


@pytest.mark.parametrize(
    ("first", "whole", "epochs", "expected"),
    [
        (2, 10, 9, [2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (2, 5, 8, [2, 2, 3, 3, 4, 4, 5, 5]),
        (1, 3, 2, [1, 2]),
        (7, 7, 3, [7, 7, 7]),
        (None, 7, 2, [7, 7]),
    ],
)
def test_each_number_of_steps_has_an_equal_share_of_the_epochs(first, whole, epochs, expected):
    block = Training(first_steps=first)
    assert [block.attack_steps(epoch / epochs, whole) for epoch in range(epochs)] == expected


@pytest.mark.parametrize("ball", [Linf(EPS), L2(EPS)])
@pytest.mark.parametrize("relative", [None, 0.3])
def test_fewer_steps_go_as_far_and_nothing_else_changes(ball, relative):
    whole = PGD(ball, steps=6, relative_step=relative, start="zero")
    fewer = whole.shortened(2)
    assert (fewer.steps, whole.steps, fewer.start) == (2, 6, "zero")
    assert fewer.steps * fewer.step_size == pytest.approx(whole.steps * whole.step_size)
    alike = PGD(ball, steps=2, relative_step=relative and 3 * relative, start="zero")
    net, x, y = tiny_net(), images(4), labels(4)
    found = [attack(PGDAT()(net, None, x, y)[0], x, torch.Generator()) for attack in (fewer, alike)]
    assert torch.equal(*found)
    assert whole.shortened(6) is whole


def test_an_attack_is_built_once_for_each_radius_and_number_of_steps():
    ball, made = Linf(EPS), []

    def make(ball):
        made.append(ball.eps)
        return PGD(ball, steps=4)

    attacks = AttackSchedule(make, ball, PGD(ball, steps=4), 2)
    half = ball.scaled(0.5)
    few = attacks(half, 2)
    assert (few.ball.eps, few.steps, few.step_size) == (EPS / 2, 2, pytest.approx(1.25 * EPS / 2))
    assert attacks(ball.scaled(0.5), 2) is few
    assert attacks(half, 3).steps == 3
    assert made == [EPS / 2, EPS / 2]
    assert attacks(ball, 4) is attacks.whole
    assert attacks(ball) is attacks.whole


@pytest.fixture(scope="module")
def run(fit, tmp_path_factory):
    asked, place = Asked(), tmp_path_factory.mktemp("grows")
    options = ["--trainer.max_epochs=6", "--trainer.limit_val_batches=1", "--model.attack.init_args.steps=4"]
    return fit(place, "pgd_at", *options, GROW, callbacks=[asked]).model, asked, place


def test_the_attack_of_a_run_grows_and_that_of_validation_does_not(run):
    engine, asked, _ = run
    assert asked.steps == [{2}, {2}, {3}, {3}, {4}, {4}]
    assert [min(lengths) / engine.threat.eps for lengths in asked.lengths[::2]] == pytest.approx([2.5 / 2, 2.5 / 3, 2.5 / 4])
    assert engine.val_attack.steps == 10
    assert engine.attack.steps == 4


def test_the_card_counts_every_step_as_long_as_it_was(run, fit, tmp_path):
    """Equal shares of 2, 3 and 4 steps are a run of 3."""
    options = ["--trainer.max_epochs=6", "--trainer.limit_val_batches=0", "--model.attack.init_args.steps=3"]
    fit(tmp_path, "pgd_at", *options)
    grown, even = (torch.load(place / "last.ckpt", weights_only=True)["ard"]["training"] for place in (run[2], tmp_path))
    assert grown["pflop"] == pytest.approx(even["pflop"], rel=1e-3)
    assert (grown["block"]["first_steps"], "first_steps" in even["block"]) == (2, False)


def test_a_preflight_tries_the_mean_and_a_run_without_growth_as_ever(command, tmp_path):
    def planned(*options, recipe="pgd_at"):
        engine = PlannedRun.of(command(tmp_path, recipe, *options)[1:]).engine
        return engine.attack.steps, engine.training_block.first_steps

    assert planned("--model.attack.init_args.steps=10", GROW) == (6, None)
    assert planned("--model.attack.init_args.steps=10") == (10, None)
    assert planned("--model.training.first_steps=1", recipe="nfgsm") == (1, None)
    with user_error("first_steps = 2: the attack is PGD of 1 in all"):
        planned("--model.attack.init_args.steps=1", GROW)


def make(kind, attack=None):
    given = {"attack": attack} if attack else {}
    return kind(student=tiny_net(), objective=PGDAT(), training=Training(first_steps=2), **given)


def test_what_cannot_grow_is_refused():
    with user_error("first_steps = 0: expected at least 1"):
        Training(first_steps=0)
    with user_error("first_steps = 2: the attack is FGSM of 1 in all; expected one of at least 2"):
        make(Distillation, attack=FGSM)
    with user_error("first_steps = 2: free replays take no steps"):
        make(FreeDistillation)


def test_a_graph_follows_the_steps_to_the_same_bits_and_says_nothing():
    """More numbers of steps than captures are allowed for one."""
    path, ball, whole = CONFIGS / "methods" / "pgd_at.yaml", Linf(EPS), MOST + 3
    graphs = Graphs(recorded, "cpu")
    runs = [Steps(path), Steps(path, graphs)]
    attacks = [AttackSchedule(PGD, ball, PGD(ball, steps=whole), 2) for _ in runs]
    captures = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for epoch in range(2 * (whole - 1)):
            steps = 2 + epoch // 2
            for batch in range(2):
                number = 2 * epoch + batch
                found = [one(run, attack(ball, steps), number) for run, attack in zip(runs, attacks, strict=True)]
                assert torch.equal(*found)
            captures += graphs.captures * (epoch % 2)
    assert captures == whole - 1
    assert graphs.reason is None


def one(run, attack, number):
    x, y, step = images(4, seed=number), labels(4), Step(eps=EPS, batch=number)
    run.student.train()
    learn = getattr(run.attack_batch, "learn", None)
    made = run.attack_batch(run.student, None, run.objective, attack, x, y, step, run.drawing(number), "eval")
    terms = learn(run.student, run.objective, made, step).terms if learn else made.training_loss(made.x_adv)
    found = made.x_adv.clone()
    run.descend(terms)
    return found
