"""Adversarial weight perturbation: where the weights go, what comes back, and the step that is taken from there."""

import copy

import pytest
import torch
import torch.nn.functional as F
from pytorch_lightning import Callback
from tiny import generator, images, labels, tiny_net, user_error
from torch import nn

from ard.attacks import PGD, Linf
from ard.models import load
from ard.objectives.base import Step
from ard.objectives.pgd_at import PGDAT
from ard.training.step import take
from ard.training.weight_perturbation import AWP


def loss_of(net, x, y):
    return lambda: F.cross_entropy(net(x), y)


def state(net):
    return copy.deepcopy(net.state_dict())


@pytest.mark.parametrize("gamma", [0.005, 0.1])
def test_every_layer_moves_gamma_of_its_norm_up_its_gradient(gamma):
    net, x, y = tiny_net().train(), images(16), labels(16)
    twin = copy.deepcopy(net)
    F.cross_entropy(twin(x), y).backward()
    before = state(net)
    AWP(gamma=gamma)(net, loss_of(net, x, y))
    for (name, weight), reference in zip(net.named_parameters(), twin.parameters(), strict=True):
        moved = weight.detach() - before[name]
        if weight.ndim == 1:
            assert torch.equal(weight, before[name])
        else:
            assert moved.norm() == pytest.approx(gamma * before[name].norm().item(), rel=1e-3)
            assert F.cosine_similarity(moved.flatten(), reference.grad.flatten(), dim=0) > 0.999
    assert F.cross_entropy(net(x), y) > F.cross_entropy(twin(x), y)


def test_all_comes_back_bit_by_bit():
    net = nn.Sequential(tiny_net(), nn.Dropout(0.5)).train()
    before, random = state(net), torch.get_rng_state()
    restore = AWP(gamma=0.1)(net, loss_of(net, images(16), labels(16)))
    buffers = [name for name, _ in net.named_buffers()]
    assert all(torch.equal(net.state_dict()[name], before[name]) for name in buffers)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in net.parameters())
    restore()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("restore", ["before_step", "after_step"])
def test_an_error_in_the_training_loss_leaves_the_weights_at_home(restore):
    def interrupted(*_):
        raise KeyboardInterrupt

    net, x, y = tiny_net().train(), images(16), labels(16)
    before, attack = state(net), PGD(Linf(0.1), steps=1)
    awp = AWP(gamma=0.1, restore=restore)
    with pytest.raises(KeyboardInterrupt):
        take(
            net,
            None,
            PGDAT(),
            attack,
            x,
            y,
            Step(eps=0.1),
            generator=generator(),
            weight_perturbation=awp,
            learn=interrupted,
        )
    weights = dict(net.named_parameters())
    assert all(torch.allclose(weights[name], before[name], atol=1e-6) for name in weights)


def test_a_network_that_learns_beside_does_not_see_the_pass_that_finds_the_way_up():
    net, x = tiny_net().train(), images(8)
    beside = nn.ModuleList([nn.BatchNorm2d(1).train(), nn.BatchNorm2d(1).eval()])
    before = state(beside)
    AWP(gamma=0.1)(net, lambda: (net(x) + beside[0](x).mean() + beside[1](x).mean()).sum(), beside)
    assert [name for name, value in state(beside).items() if not torch.equal(value, before[name])] == []
    AWP(gamma=0.1)(net, lambda: (net(x) + beside[0](x).mean()).sum())
    assert not torch.equal(state(beside)["0.running_mean"], before["0.running_mean"])


def test_a_weight_that_has_no_part_in_the_answer_stays():
    """As of a network's heads that are left out."""
    net = nn.ModuleDict({"used": tiny_net().train(), "unused": nn.Linear(3, 3)})
    before = state(net)
    AWP(gamma=0.1)(net, loss_of(net["used"], images(), labels()))
    moved = {name.partition(".")[0] for name, value in state(net).items() if not torch.equal(value, before[name])}
    assert moved == {"used"}


def test_no_radius_changes_nothing():
    net = tiny_net().train()
    before = state(net)
    AWP(gamma=0.0)(net, loss_of(net, images(), labels()))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_negative_radius_is_refused():
    with user_error("gamma"):
        AWP(gamma=-1.0)


@pytest.mark.parametrize(
    ("recipe", "precision"), [("trades", "32-true"), ("ard", "32-true"), ("pgd_at", "32-true"), ("pgd_at", "bf16-mixed")]
)
def test_training_descends_the_gradient_at_the_perturbed_weights(fit, tmp_path, recipe, precision):
    """Under autocast, too, where casts of the weights as they were before must not be used again."""
    option = "--model.init_args.weight_perturbation.gamma"
    plain = [f"--trainer.precision={precision}", "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=0"]
    plain += ["--model.init_args.training.schedule=multistep", "--model.init_args.training.weight_decay=0"]
    weights = {}
    for gamma in (None, 0.0, 0.05):
        more = [] if gamma is None else [f"{option}={gamma}"]
        fit(tmp_path / str(gamma), recipe, *plain, *more)
        weights[gamma] = dict(load(tmp_path / str(gamma) / "last.safetensors").named_parameters())
    assert all(torch.equal(value, weights[None][name]) for name, value in weights[0.0].items())
    apart = {name: (value - weights[None][name]).abs().max() for name, value in weights[0.05].items()}
    assert 0 < max(apart.values()) < 0.1  # another gradient was descended; the perturbation itself was taken back


def test_it_waits_for_its_start(fit, tmp_path):
    seen = []
    first = AWP.__call__
    try:
        AWP.__call__ = lambda self, *given: seen.append(1) or first(self, *given)
        options = ["--model.init_args.weight_perturbation.gamma=0.01", "--model.init_args.weight_perturbation.start=0.5"]
        fit(tmp_path, "pgd_at", *options, "--trainer.limit_train_batches=4")
    finally:
        AWP.__call__ = first
    assert len(seen) == 2


def test_the_average_and_a_step_that_is_left_out_see_the_weights_at_home(fit, tmp_path):
    """An image of the second batch is NaN, and so the move of the weights, too: all is as it was after the first."""

    class Spoilt(Callback):
        def on_train_batch_start(self, trainer, engine, batch, batch_idx):  # noqa: ARG002
            if batch_idx == 1:
                self.first = state(engine.student)
                batch[0][0, 0, 0, 0] = torch.nan

    options = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=0"]
    options += ["--guards.skip_nonfinite=1", "--model.training.average=0.5"]
    engine = fit(tmp_path, "pgd_at_awp-as-released", *options, callbacks=[spoilt := Spoilt()]).model
    assert engine.skipped
    assert all(torch.equal(value, spoilt.first[name]) for name, value in engine.student.state_dict().items())
    average = engine.average.module.named_parameters()
    assert all(value.isfinite().all() and (value - spoilt.first[name]).norm() < 1 for name, value in average)


def slopes(net, x, y):
    net = copy.deepcopy(net)
    return torch.autograd.grad(loss_of(net, x, y)(), [net[0].weight, net[4].weight])


def test_the_move_of_all_processes_is_one(monkeypatch):
    """Each has other images: after the step, weights that had moved each on their own would stay apart."""
    net, x, y = tiny_net().train(), images(8), labels(8)
    ours, theirs = slopes(net, x[:4], y[:4]), slopes(net, x[4:], y[4:])
    received, before = iter(theirs), state(net)
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    monkeypatch.setattr("torch.distributed.all_reduce", lambda gradient: gradient.add_(next(received)))
    AWP(gamma=0.1, restore="after_step")(net, loss_of(net, x[:4], y[:4]))
    for name, mine, other in zip(("0.weight", "4.weight"), ours, theirs, strict=True):
        mean = (mine + other) / 2
        torch.testing.assert_close(net.state_dict()[name], before[name] + 0.1 * before[name].norm() * mean / mean.norm())
