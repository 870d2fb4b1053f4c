"""Optimisers, schedules and clipping against torch's own; every one of them resumes to the same bits."""

import math
from functools import partial

import pytest
import torch
from test_resume import Order, assert_same_state, killed
from tiny import user_error
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR

from ard.training.schedule import Training

OWN = {"lr": 0.01, "momentum": 0.1, "weight_decay": 0.0}  # a group of the objective's own, as of B-MTARD
ADAMW = "--model.training.optimizer=torch.optim.AdamW"


def groups(*own):
    return [{"params": [torch.zeros(1, requires_grad=True)], **settings} for settings in ({}, *own)]


def course(optimizer, scheduler, steps):
    """Learning rate and momentum of every group at every step."""
    found = []
    for _ in range(steps):
        found.append([(group["lr"], group.get("momentum")) for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return found


def ours(training, steps, *own):
    optimizer = training.make_optimizer(groups(*own))
    return course(optimizer, training.scheduler(optimizer, steps), steps)


def theirs(kind, steps, lr=0.2, **options):
    optimizer = torch.optim.SGD(groups(), lr=lr, momentum=0.9)
    return course(optimizer, kind(optimizer, **options), steps)


def assert_close(found, expected):
    assert torch.tensor(found, dtype=torch.float64).allclose(torch.tensor(expected, dtype=torch.float64), 1e-9, 1e-12)


@pytest.mark.parametrize(("steps", "warmup"), [(100, 0.5), (37, 0.5), (100, 0.4)])
def test_rate_and_momentum_of_triangular_are_those_of_cyclic_lr(steps, warmup):
    up = warmup * steps
    expected = theirs(CyclicLR, steps, base_lr=0.0, max_lr=0.2, step_size_up=up, step_size_down=steps - up)
    assert min(momentum for [(_, momentum)] in expected) == pytest.approx(0.8, abs=0.003)
    assert_close(ours(Training(lr=0.2, schedule="triangular", warmup=warmup, least_momentum=0.8), steps), expected)


@pytest.mark.parametrize("warmup", [0.3, 0.25])
def test_rate_and_momentum_of_one_cycle_are_those_of_one_cycle_lr(warmup):
    expected = theirs(OneCycleLR, 100, max_lr=0.2, total_steps=101, pct_start=warmup)
    assert min(momentum for [(_, momentum)] in expected) == pytest.approx(0.85, abs=1e-4)
    training = Training(lr=0.2, schedule="one_cycle", warmup=warmup, momentum=0.95, least_momentum=0.85)
    assert_close(ours(training, 100), expected)


@pytest.mark.parametrize("schedule", ["triangular", "one_cycle"])
def test_a_group_with_a_momentum_of_its_own_keeps_it(schedule):
    found = ours(Training(schedule=schedule, least_momentum=0.8), 20, OWN)
    assert {momentum for _, (_, momentum) in found} == {0.1}
    assert len({momentum for (_, momentum), _ in found}) > 10


@pytest.mark.parametrize("schedule", ["multistep", "triangular", "one_cycle", "cosine"])
def test_the_momentum_stays_where_nothing_is_said(schedule):
    assert {momentum for [(_, momentum)] in ours(Training(schedule=schedule), 20)} == {0.9}


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.25])
def test_cosine_rises_straight_and_falls_as_half_a_cosine(warmup):
    found, up = [lr for [(lr, _)] in ours(Training(lr=0.2, schedule="cosine", warmup=warmup), 40)], int(40 * warmup)
    assert found[:up] == pytest.approx([0.2 * step / up for step in range(up)])
    rest = [0.1 * (1 + math.cos(math.pi * step / (40 - up))) for step in range(40 - up)]
    assert found[up:] == pytest.approx(rest)
    assert found[up] == 0.2


def test_another_optimizer_takes_rate_and_decay_of_the_block():
    training = Training(lr=0.01, weight_decay=0.3, optimizer=partial(torch.optim.AdamW, betas=(0.9, 0.99)))
    made = training.make_optimizer(groups({"lr": 0.5}))
    assert isinstance(made, torch.optim.AdamW)
    assert [(group["lr"], group["weight_decay"], group["betas"]) for group in made.param_groups] == [
        (0.01, 0.3, (0.9, 0.99)),
        (0.5, 0.3, (0.9, 0.99)),
    ]


class Closed(torch.optim.SGD):
    def step(self, closure):
        closure()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": torch.optim.LBFGS}, "optimizer LBFGS: .*weight_decay"),
        ({"optimizer": torch.optim.Rprop}, "optimizer Rprop: .*weight_decay"),
        ({"optimizer": torch.optim.Muon}, "optimizer Muon: .*2D"),
        ({"optimizer": torch.optim.SGD}, "optimizer SGD: expected null"),
        ({"optimizer": dict}, "optimizer dict: .*such as AdamW"),
        ({"optimizer": Closed}, "optimizer Closed asks for"),
        ({"optimizer": partial(torch.optim.AdamW, betas=(0.9, 2.0))}, "optimizer AdamW: Invalid beta parameter"),
        ({"optimizer": partial(torch.optim.AdamW, lr=1e-3)}, r"AdamW has a lr of its own: .* Training\(lr=…\)"),
        ({"optimizer": torch.optim.AdamW, "momentum": 0.8}, "momentum = 0.8: it is of SGD"),
        ({"optimizer": torch.optim.AdamW, "nesterov": True}, "nesterov = True: it is of SGD"),
        (
            {"optimizer": torch.optim.AdamW, "least_momentum": 0.8, "schedule": "cosine"},
            "least_momentum = 0.8: it is of SGD",
        ),
        ({"least_momentum": 0.95, "schedule": "cosine"}, "expected from 0 to momentum"),
        ({"least_momentum": 0.8}, "multistep moves no momentum"),
        ({"warmup": 0.05}, "warmup = 0.05: multistep has none; expected another schedule, or 0.3"),
        ({"lr": None}, "lr = None: expected a number"),
        ({"gamma": "0.1"}, "gamma = 0.1: expected a number"),
        ({"eps_ramp": (0.5, 0.2)}, r"eps_ramp = \[0.5, 0.2\]: expected two rising shares"),
        ({"eps_ramp": (0.5, 0.5)}, "expected two rising shares"),
        ({"eps_ramp": (0.0, 1.5)}, "expected two rising shares"),
        ({"eps_ramp": (0.5,)}, "expected two rising shares"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(options, message):
    with user_error(message):
        Training(**options)


def test_a_method_with_a_momentum_of_its_own_wants_an_optimizer_with_one():
    with user_error("a momentum of their own, which AdamW does not have: expected optimizer: null"):
        Training(optimizer=torch.optim.AdamW).make_optimizer(groups(OWN))
    made = Training(optimizer=torch.optim.RMSprop).make_optimizer(groups(OWN))
    assert made.param_groups[1]["momentum"] == 0.1


CLIP = "--trainer.gradient_clip_val=0.5"
RUNS = {
    "adamw": ("pgd_at", ADAMW, "--lr=0.001", "--model.training.schedule=cosine"),
    "one_cycle": ("pgd_at", "--model.training.schedule=one_cycle", "--model.training.least_momentum=0.8"),
    "triangular": ("pgd_at", "--model.training.schedule=triangular", "--model.training.least_momentum=0.8"),
    "ramp": ("pgd_at", "--model.training.eps_ramp=[0.34, 1]", "--trainer.gradient_clip_val=0.5"),
    "steps": ("pgd_at", "--model.training.first_steps=1", "--model.attack.init_args.steps=3"),
    "replays": (
        "fast_ard",
        ADAMW,
        "--model.training.eps_ramp=[0, 1]",
        "--trainer.gradient_clip_val=0.5",
        "--model.replays=2",
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_resumes_to_the_same_bits(fit, tmp_path, name):
    recipe, *options = RUNS[name]
    epochs = 6 if recipe == "fast_ard" else 3
    options += [f"--trainer.max_epochs={epochs}", "--trainer.limit_val_batches=1", "--trainer.limit_train_batches=2"]
    alone = fit(tmp_path / "alone", recipe, *options).model
    killed(fit, tmp_path / "killed", recipe, *options, kill=(1, 1))
    resumed = fit(tmp_path / "killed", recipe, *options, "--ckpt_path=last", callbacks=[Order()]).model
    assert_same_state(alone, resumed)
    states = [engine.trainer.optimizers[0].state_dict() for engine in (alone, resumed)]
    assert states[0]["param_groups"] == states[1]["param_groups"]
    assert states[0]["state"].keys() == states[1]["state"].keys() != set()
