"""Overfitting to the attack: the rule over series of published and simulated runs, and what a run does about it."""

import json
import re
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from pytorch_lightning import Callback
from tiny import tiny_net, user_error
from torch import nn

from ard import Distillation
from ard.core.randomness import keyed_generator
from ard.data import Digits
from ard.losses import cross_entropy
from ard.training.callbacks import overfitting
from ard.training.callbacks.guard import Guard
from ard.training.callbacks.overfitting import CatastrophicOverfitting, RobustOverfitting

EPOCHS = ["--trainer.limit_train_batches=1", "--trainer.max_epochs=4", "--trainer.limit_val_batches=1.0"]


class Fooled(Callback):
    """The verdicts under PGD: all right, but all wrong in one epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_validation_batch_end(self, trainer, engine, outputs, *_):  # noqa: ARG002
        outputs["robust"].fill_(trainer.current_epoch != self.epoch)


class Seen(Callback):
    """What the guards of a run saw, also of one that they ended."""

    def setup(self, trainer, engine, stage):  # noqa: ARG002
        self.guards = [callback for callback in trainer.callbacks if isinstance(callback, Guard)]

    def __getitem__(self, name):
        return next(guard.seen[name] for guard in self.guards if name in guard.seen)


def epochs(directory):
    files = {file.stem: file for file in directory.glob("*.ckpt")}
    return {name: torch.load(file, weights_only=True)["epoch"] for name, file in files.items()}


@pytest.mark.fault(36)
@pytest.mark.usefixtures("above_chance")
def test_the_run_stops_and_the_best_checkpoint_is_kept(fit, tmp_path, observed):
    with user_error("epoch 2: catastrophic overfitting: on 200 validation images PGD leaves 0.0 % right") as caught:
        fit(tmp_path, "fgsm_rs", *EPOCHS, callbacks=[seen := Seen(), Fooled(2)])
    assert epochs(tmp_path)["last"] == 1
    assert epochs(tmp_path)["best"] in (0, 1)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["stopped"], seen["pgd"], seen["pgd_best"]) == (str(caught.value), 0, 1)
    assert not (tmp_path / "student.safetensors").exists()
    observed(f"UserError, exit 2: {re.sub('FGSM [0-9.]+%', 'FGSM …', str(caught.value))}")


@pytest.mark.fault(36)
def test_or_the_last_checkpoint_is_rolled_back_to_the_best(fit, tmp_path, monkeypatch, observed):
    scores = iter([0.5, 0.4, 0.3, 0.2])
    monkeypatch.setattr("torchmetrics.classification.MulticlassAccuracy.compute", lambda _: torch.tensor(scores_now[0]))
    scores_now = [0.0]

    class Score(Callback):
        def on_validation_start(self, *_):
            scores_now[0] = next(scores)

    with user_error("last.ckpt is best.ckpt of epoch 0 again") as caught:
        fit(tmp_path, "fgsm_rs", *EPOCHS, "--guards.on_overfitting=rollback", callbacks=[Score(), Fooled(2)])
    assert epochs(tmp_path) == {"best": 0, "last": 0}  # the epoch in between would be the newest
    fit(tmp_path, "fgsm_rs", *EPOCHS, "--resume=auto")  # goes on from there
    observed(f"with --guards.on_overfitting rollback: {str(caught.value).split('; ')[1]}")


@pytest.mark.usefixtures("above_chance")
def test_or_it_is_only_said(fit, tmp_path, capsys):
    fit(tmp_path, "fgsm_rs", *EPOCHS, "--guards.on_overfitting=warn", callbacks=[Fooled(2)])
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "catastrophic" in line]
    assert line.startswith("ard: warning: epoch 2: catastrophic overfitting")
    assert line.removeprefix("ard: warning: ") in json.loads((tmp_path / "summary.json").read_text())["warnings"]


def test_recipes_that_are_not_selected_by_robust_accuracy_are_left_alone(fit, tmp_path):
    fit(tmp_path, "natural", *EPOCHS, callbacks=[seen := Seen(), Fooled(2)])
    assert seen["pgd"] is None


class Oracle(Callback):
    """Accuracies of the student itself under FGSM and under the validation attack, computed anew."""

    def on_validation_end(self, trainer, engine):  # noqa: ARG002
        right = {"pgd": 0, "fgsm": 0}
        for index, (pixels, y) in enumerate(engine.data.val_dataloader()):
            x = pixels.float() / 255
            generator = keyed_generator("cpu", "guard", engine.seed, index, 0)
            x_pgd = engine.val_attack(lambda x_adv, y=y: cross_entropy(engine.student(x_adv), y), x, generator)
            with torch.enable_grad():
                x_in = x.clone().requires_grad_()
                (gradient,) = torch.autograd.grad(F.cross_entropy(engine.student(x_in), y, reduction="sum"), x_in)
            x_fgsm = (x + engine.threat.eps * gradient.sign()).clamp(0, 1)
            right["pgd"] += (engine.student(x_pgd).argmax(1) == y).sum().item()
            right["fgsm"] += (engine.student(x_fgsm).argmax(1) == y).sum().item()
        self.found = {name: count / len(engine.data.splits[1]) for name, count in right.items()}


class OneAnswer(Callback):
    """Whatever it is shown, the average names the rarest class: it is right on a tenth at most."""

    def on_validation_start(self, trainer, engine):  # noqa: ARG002
        labels = torch.cat([y for _, y in engine.data.val_dataloader()]).bincount(minlength=10)
        self.right = (labels.min() / labels.sum()).item()
        head = [part for part in engine.average.modules() if isinstance(part, nn.Linear)][-1]
        with torch.no_grad():
            head.weight.zero_()
            head.bias.copy_(F.one_hot(labels.argmin(), 10))


def test_the_network_that_is_trained_is_measured_not_its_average(fit, tmp_path):
    """In a small ball, so that the student is far above what the average can be."""
    oracle, average, seen = Oracle(), OneAnswer(), Seen()
    options = ["--trainer.limit_train_batches=1.0", "--trainer.limit_val_batches=1.0", "--trainer.precision=32-true"]
    fit(
        tmp_path,
        "fgsm_rs",
        *options,
        "--trainer.max_epochs=2",
        "--model.init_args.training.average=0.99",
        "--model.init_args.threat.init_args.eps=0.05",
        callbacks=[average, oracle, seen],
    )
    assert {name: seen[name] for name in oracle.found} == pytest.approx(oracle.found, abs=1.5 / 200)  # rounding may turn one
    assert seen["last"] == pytest.approx(average.right)
    assert average.right <= 0.1 < 0.2 < seen["pgd"]


def test_at_most_a_thousand_images_are_asked_about(fit, tmp_path, monkeypatch):
    monkeypatch.setattr(overfitting, "IMAGES", 150)
    fit(tmp_path, "pgd_at", *EPOCHS[:1], "--trainer.limit_val_batches=1.0", callbacks=[seen := Sizes()])
    assert seen.count == 150 < seen.validated == 200


class Sizes(Callback):
    def on_validation_epoch_end(self, trainer, engine):
        (guard,) = [guard for guard in trainer.callbacks if isinstance(guard, CatastrophicOverfitting)]
        self.count, self.validated = int(guard._counts[0]), len(engine.data.splits[1])


@pytest.mark.fault(37)
@pytest.mark.parametrize(("last", "warned"), [(0.4559, True), (0.52, False)])
def test_robust_overfitting_is_reported_once_at_the_end(fit, tmp_path, monkeypatch, capsys, observed, last, warned):
    """Best and last of a PreActResNet-18 in Rice et al.'s logs."""
    scores, now = iter([0.48, 0.5349, last]), [0.0]
    monkeypatch.setattr("torchmetrics.classification.MulticlassAccuracy.compute", lambda _: torch.tensor(now[0]))

    class Score(Callback):
        def on_validation_start(self, *_):
            now[0] = next(scores)

    fit(tmp_path, "pgd_at", *EPOCHS[:1], "--trainer.max_epochs=3", "--trainer.limit_val_batches=1.0", callbacks=[Score()])
    lines = [line for line in capsys.readouterr().err.splitlines() if "robust overfitting" in line]
    assert len(lines) == warned
    summary = json.loads((tmp_path / "summary.json").read_text())
    best, ended = (
        pytest.approx({"epoch": epoch, "clean_acc": acc, "robust_acc": acc, "chance": summary["last"]["chance"]})
        for epoch, acc in ((1, 0.5349), (2, last))
    )
    assert (summary["best"], summary["last"]) == (best, ended)
    if warned:
        assert "ended at 45.6 %, 7.9 points below the 53.5 % of epoch 1" in lines[0]
        assert "200 validation images: a difference under 10 points may be chance" in lines[0]
        observed(lines[0])


def test_the_images_that_were_validated_are_counted_also_where_they_are_a_part_of_the_split():
    guard, engine = RobustOverfitting(), Distillation(student=tiny_net(), objective="pgd_at")
    metrics = {"val/robust_acc": torch.tensor(0.5)}
    trainer = SimpleNamespace(
        state=SimpleNamespace(fn="fit"),
        datamodule=Digits(),
        sanity_checking=False,
        world_size=1,
        current_epoch=0,
        callback_metrics=metrics,
    )
    engine._trainer, engine.validated_counts = trainer, torch.tensor([3, 4, 0, 9])
    guard.on_validation_end(trainer, engine)
    assert guard.seen["validation_images"] == 16
