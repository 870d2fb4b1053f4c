"""Training that begins with a pruned file: what was zero stays zero, in every weight file, average and checkpoint."""

from dataclasses import replace

import pytest
import torch
from plain_runs import FOREIGN, PLAIN, loader, plain_trainer
from pruning_networks import prunable, seeded
from pytorch_lightning import Callback
from tiny import user_error
from torch import nn

import ard
from ard.artifacts.card import Card
from ard.artifacts.facts import Pruned
from ard.artifacts.weights import card_of, read_stored, save_weights
from ard.attacks import FGSM
from ard.commands.trained_config import training_with_config
from ard.core.files import sha256
from ard.models import MobileNetV2
from ard.objectives.base import Objective
from ard.objectives.rank_projection import RankProjection
from ard.pruning.pruning import prune_network
from ard.training.starting_weights import keep_zeros
from ard.training.weight_perturbation import AWP

pytestmark = PLAIN


class KilledError(Exception):
    """The end of a process, as far as a run can tell."""


class Killed(Callback):
    """Ends a run in its second epoch."""

    def on_train_batch_start(self, trainer, engine, batch, batch_idx):  # noqa: ARG002
        if trainer.current_epoch == 1:
            raise KilledError


PRUNED = Pruned(how="fanout", keep=0.5, of="ab" * 32, nonzero=100, seed=0)
FEW = ["--trainer.max_epochs=2", "--model.training.lr=0.1", "--model.training.weight_decay=0.01"]


def small_student():
    stages = [[1, 16, 1, 1], [2, 16, 1, 2]]
    return MobileNetV2(num_classes=10, in_channels=1, width=0.5, stages=stages, head=16)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """start(how): a pruned file for the student of small runs; "" writes the same zeros with a card that says nothing."""

    def write(how):
        network = seeded(small_student)
        prune_network(prunable(network, 0.5), how or "magnitude")
        path = tmp_path_factory.mktemp("start") / "student.safetensors"
        save_weights(path, network, Card(num_classes=10, pruned=replace(PRUNED, how=how) if how else None))
        return path

    return write


def zeros(path):
    return {name: value == 0 for name, value in read_stored(path).state.items() if value.is_floating_point()}


def freed(before, after):
    return {name: int((places & ~after[name]).sum()) for name, places in before.items() if "running" not in name}


@pytest.mark.parametrize("how", ["magnitude", "fanout"])
@pytest.mark.parametrize("recipe", ["pgd_at_ema", "pgd_at_awp", "fast_ard"])
def test_what_was_zero_stays_zero_and_the_rest_learns(fit, start, tmp_path, recipe, how):
    path = start(how)
    more = ["--model.replays=2"] if recipe == "fast_ard" else []
    fit(tmp_path, recipe, *FEW, *more, f"--model.init={path}")
    for name in ("student", "last"):
        written = read_stored(tmp_path / f"{name}.safetensors")
        assert set(freed(zeros(path), zeros(tmp_path / f"{name}.safetensors")).values()) == {0}
        assert written.card.pruned == replace(PRUNED, how=how)
        assert not torch.equal(written.state["head.weight"], read_stored(path).state["head.weight"])


class Projects(Objective):
    """Moves every weight after each step, in either way of writing."""

    labels = "soft"

    def forward(self, student, teacher, x, y):  # noqa: ARG002
        return None, lambda x_adv: {"ce": self.hard_label(student(x_adv), y)}

    def after_step(self, terms, student):  # noqa: ARG002
        for place, parameter in enumerate(student.parameters()):
            with torch.no_grad():
                parameter.add_(1.0) if place % 2 else parameter.data.add_(1.0)


@pytest.mark.parametrize("objective", [RankProjection(after=None, clip_above=0.1), Projects()], ids=["rank", "data"])
@FOREIGN
def test_what_an_objective_projects_leaves_zeros_and_frozen_weights_alone(start, objective):
    path = start("magnitude")
    student = small_student()
    student.load_state_dict(read_stored(path).state)
    student.features[1].requires_grad_(False)
    module = ard.Distillation(student=student, objective=objective, attack=FGSM, eps=0.1, init=path)
    before = {name: value.clone() for name, value in student.named_parameters()}
    plain_trainer(limit_train_batches=2).fit(module, loader(), loader(32, 1))
    for name, value in student.named_parameters():
        assert (value[before[name] == 0] == 0).all(), name
        assert torch.equal(value, before[name]) != value.requires_grad, name


def test_without_the_card_nothing_is_held(fit, start, tmp_path):
    path = start("")
    fit(tmp_path, "pgd_at", *FEW, f"--model.init={path}")
    assert sum(freed(zeros(path), zeros(tmp_path / "student.safetensors")).values()) > 100
    assert read_stored(tmp_path / "student.safetensors").card.pruned is None


def test_a_resumed_run_ends_with_the_same_bits(fit, start, tmp_path):
    path = start("magnitude")
    words = [f"--model.init={path}", "--trainer.max_epochs=3"]
    fit(tmp_path / "alone", "pgd_at", *words)
    with pytest.raises(KilledError):
        fit(tmp_path / "cut", "pgd_at", *words, callbacks=[Killed()])
    fit(tmp_path / "cut", "pgd_at", *words, "--ckpt_path=last")
    alone, resumed = (read_stored(tmp_path / name / "last.safetensors").state for name in ("alone", "cut"))
    assert all(torch.equal(value, resumed[name]) for name, value in alone.items())
    assert set(freed(zeros(path), zeros(tmp_path / "cut" / "last.safetensors")).values()) == {0}


def test_a_start_may_be_named_by_its_runs_folder(fit, start, tmp_path, recwarn):
    path = start("magnitude")
    engine = fit(tmp_path / "run", "pgd_at", f"--model.init={path.parent}", *FEW).model
    assert engine.start == {str(path): sha256(path)}
    assert "replaced" not in "".join(str(one.message) for one in recwarn)


def test_a_run_does_not_go_on_with_a_start_that_became_another_one(fit, start, tmp_path):
    """Its zeros are those of the file: with other ones the second half would hold other weights than the first."""
    path = start("magnitude")
    words = [f"--model.init={path}", *FEW]
    fit(tmp_path / "run", "pgd_at", *words)
    last = tmp_path / "run" / "last.safetensors"
    training = training_with_config(last, card_of(last))
    assert training.init == training.config["model"]["init_args"]["init"] == sha256(path)
    path.write_bytes(start("fanout").read_bytes())
    with user_error("model.init"):
        fit(tmp_path / "run", "pgd_at", *words, "--resume=auto")


def test_infinite_gradients_do_not_reach_what_is_gone():
    layer = nn.Linear(3, 2, bias=False)
    layer.weight.data[0, 1] = 0
    keep_zeros(layer, Card(pruned=PRUNED))
    (layer(torch.tensor([[1.0, torch.inf, torch.nan]]))).sum().backward()
    assert layer.weight.grad[0, 1] == 0
    assert not layer.weight.grad[1, 1].isfinite()


def test_weight_perturbation_leaves_them_where_they_are():
    layer = nn.Linear(3, 2, bias=False)
    layer.weight.data[0, 1] = 0
    keep_zeros(layer, Card(pruned=PRUNED))
    before = layer.weight.detach().clone()
    undo = AWP(gamma=1.0)(layer, lambda: layer(torch.ones(1, 3)).square().sum())
    assert layer.weight[0, 1] == 0
    assert not torch.equal(layer.weight, before)
    undo()
    assert torch.equal(layer.weight, before)
