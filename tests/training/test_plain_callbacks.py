"""The callbacks of `ard fit` in a trainer of one's own: each fit begins anew, and nothing is said that is not so."""

import copy
import signal
from datetime import timedelta
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from plain_runs import FOREIGN, PLAIN, Net, digits, loader, plain_trainer
from pytorch_lightning.callbacks import EMAWeightAveraging, WeightAveraging
from tiny import user_error
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import ard
from ard.training.callbacks.finite import Finite
from ard.training.callbacks.guards import Guards
from ard.training.callbacks.signals import Stop
from ard.training.callbacks.teacher_accuracy import TeacherCheck
from ard.training.checkpoints import AtomicCheckpointIO, best_and_last
from ard.training.weight_perturbation import AWP

pytestmark = PLAIN


@FOREIGN
def test_what_our_own_trainer_adds_can_be_added_by_hand(tmp_path):
    """And the run goes on from the checkpoint that was left."""

    def run(epochs, **start):
        module = ard.Distillation(student=Net(), teacher=Net(), objective="pgd_at_ema", eps=0.1)
        callbacks = [*Guards().callbacks(), TeacherCheck(), *best_and_last(str(tmp_path), "val/robust_acc")]
        options = {"enable_checkpointing": True, "plugins": [AtomicCheckpointIO()], "callbacks": callbacks}
        trainer = plain_trainer(epochs, default_root_dir=tmp_path, log_every_n_steps=1, **options)
        trainer.fit(module, loader(shuffle=True), loader(64, 1), **start)
        return trainer

    run(1)
    assert {"summary.json", "best.ckpt", "last.ckpt"} <= {file.name for file in tmp_path.iterdir()}
    assert run(2, ckpt_path=tmp_path / "last.ckpt").global_step == 6


def short_run(callbacks, epochs=1, **options):
    trainer = plain_trainer(epochs, enable_checkpointing=True, callbacks=callbacks, log_every_n_steps=1, **options)
    trainer.fit(ard.Distillation(student=Net(), objective="pgd_at", eps=0.1), loader(shuffle=True), loader(64, 1))


@FOREIGN
@pytest.mark.parametrize("averaging", [EMAWeightAveraging, WeightAveraging])
@pytest.mark.parametrize("objective", ["adr", "absld", "fair_ard", "liet"])
def test_lightning_averages_no_method_that_learns_of_the_run_after_it_was_copied(averaging, objective):
    module = ard.Distillation(student=Net(), teacher=Net(), objective=objective, eps=0.1)
    with user_error(rf"{averaging.__name__} among the callbacks: .* expected training=.\"average\": 0.9995. in the module"):
        plain_trainer(callbacks=[averaging()]).fit(module, loader(), loader(64, 1))


@FOREIGN
def test_lightning_averages_a_method_that_has_its_state_from_the_beginning():
    short_run([EMAWeightAveraging()])


@FOREIGN
def test_guards_know_nothing_of_the_run_before(tmp_path):
    finite, overfitting, *rest = Guards().callbacks()
    overfitting.seen |= {"pgd_best": 1.0, "suspected": True, "warnings": ["of another run"]}
    finite.received = finite.agreed = signal.SIGTERM
    short_run([finite, overfitting, *rest, Stop(tmp_path)], default_root_dir=tmp_path)
    assert overfitting.seen["pgd_best"] < 0.9
    assert "of another run" not in (tmp_path / "summary.json").read_text()


class Spoiling(pl.Callback):
    """One batch is NaN; keeps the student as it is before every batch."""

    def __init__(self, at):
        self.at, self.states = at, []

    def on_train_batch_start(self, trainer, module, batch, batch_idx):  # noqa: ARG002
        if len(self.states) == self.at:
            batch[0].fill_(torch.nan)
        self.states.append(copy.deepcopy(module.student.state_dict()))


@FOREIGN
@pytest.mark.parametrize("at", [2, 3, 4])
def test_of_a_step_of_two_batches_that_is_left_out_nothing_stays(at):
    """BatchNorm statistics neither, whichever batch is at fault; the fifth batch is a step alone."""
    spoiling = Spoiling(at)
    trainer = plain_trainer(2, accumulate_grad_batches=2, callbacks=[spoiling, Finite(skip=1)])
    module = ard.Distillation(student=Net(), objective="natural")
    trainer.fit(module, loader(160, change=lambda x: x.float() / 255), loader(64, 1))
    before, after = spoiling.states[at // 2 * 2], spoiling.states[min(at // 2 * 2 + 2, 5)]
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@FOREIGN
@pytest.mark.parametrize("interval", [2, 0.7, timedelta(hours=1)])
def test_the_best_checkpoint_is_not_given_the_score_of_an_earlier_step(interval, tmp_path):
    with user_error("val_check_interval = .*: best.ckpt is of a whole epoch, here of 3 batches, .* expected 1.0"):
        short_run(best_and_last(str(tmp_path), "val/robust_acc"), val_check_interval=interval)
    assert not any(tmp_path.iterdir())


@FOREIGN
@pytest.mark.parametrize("options", [{"val_check_interval": 1}, {"val_check_interval": 6, "check_val_every_n_epoch": None}])
def test_validations_that_meet_the_end_of_epochs_are_fine(options, tmp_path):
    short_run(best_and_last(str(tmp_path), "val/robust_acc"), epochs=2, **options)
    found = torch.load(tmp_path / "best.ckpt", weights_only=False)
    assert found["global_step"] in (3, 6)


@FOREIGN
def test_checkpoints_of_one_run_are_not_those_of_the_next(tmp_path):
    callbacks = best_and_last(str(tmp_path), "val/robust_acc")
    short_run(callbacks)
    best = (tmp_path / "best.ckpt").read_bytes()
    with user_error("these callbacks keep the epochs of another run there; expected new ones"):
        short_run(callbacks)
    assert (tmp_path / "best.ckpt").read_bytes() == best
    trainer = plain_trainer(2, enable_checkpointing=True, callbacks=callbacks)  # which goes on
    module = ard.Distillation(student=Net(), objective="pgd_at", eps=0.1)
    trainer.fit(module, loader(shuffle=True), loader(64, 1), ckpt_path=tmp_path / "last.ckpt")
    assert trainer.global_step == 6


@FOREIGN
@pytest.mark.parametrize("kind", ["shares", "without a label"])
def test_a_teacher_is_asked_about_the_images_that_have_a_label(kind):
    x, y = digits(64)
    y = F.one_hot(y, 10).float() if kind == "shares" else torch.where(torch.arange(64) < 32, -1, y)
    teacher, check = Net().eval(), TeacherCheck()
    images = DataLoader(TensorDataset(x, y), batch_size=64)
    trainer = plain_trainer(1, callbacks=[check])
    with pytest.warns(UserWarning, match="not above chance"):
        trainer.fit(ard.Distillation(student=Net(), teacher=teacher, objective="rslad", eps=0.1), images, loader(64, 1))
    labels = y.argmax(dim=1) if kind == "shares" else y
    asked = labels >= 0
    right = (teacher(x[asked] / 255).argmax(dim=1) == labels[asked]).double().mean().item()
    assert check.found["teacher"].n == asked.sum()
    assert check.found["teacher"].share == pytest.approx(right)


@FOREIGN
def test_a_teacher_that_nobody_can_judge_is_not_called_one_at_chance(recwarn):
    x, y = digits(64)
    check, images = TeacherCheck(), DataLoader(TensorDataset(x, torch.full_like(y, -1)), batch_size=64)
    module = ard.Distillation(student=Net(), teacher=Net(), objective="rslad", eps=0.1)
    plain_trainer(1, callbacks=[check]).fit(module, images, loader(64, 1))
    assert check.found == {}
    assert "above chance" not in "".join(str(one.message) for one in recwarn)


class Signalled(pl.Callback):
    """A signal in the validation of the only epoch."""

    def on_validation_start(self, trainer, _):
        if not trainer.sanity_checking:
            signal.raise_signal(signal.SIGTERM)


@FOREIGN
@pytest.mark.parametrize("kept", [True, False])
def test_a_signal_in_validation_finds_its_step_saved_once_whoever_saves_epochs(kept, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    callbacks = [*(best_and_last("run", "val/robust_acc") if kept else []), Stop("run"), Signalled()]
    with pytest.raises(SystemExit) as ended:
        short_run(callbacks, epochs=2, plugins=[AtomicCheckpointIO()])
    assert ended.value.code == 143
    assert "SIGTERM after step 3: run/last.ckpt holds it" in capsys.readouterr().err
    assert torch.load("run/last.ckpt", weights_only=False)["global_step"] == 3
    assert not Path("run/previous.ckpt").exists(), "the step was saved twice"


class Averaged(pl.callbacks.StochasticWeightAveraging):
    """Keeps what the average of the weights was."""

    def transfer_weights(self, average, module):
        super().transfer_weights(average, module)
        self.average = copy.deepcopy(dict(module.student.named_parameters()))


@FOREIGN
@pytest.mark.filterwarnings("ignore:SWA is currently only supported every epoch")
@pytest.mark.filterwarnings("ignore:Swapping scheduler")
@pytest.mark.parametrize("restore", ["before_step", "after_step"])
def test_the_pass_in_which_averaged_weights_meet_batch_norm_moves_no_weight(restore):
    """Lightning shows it all images once more, in training steps without a backward pass."""
    averaged = Averaged(swa_lrs=0.1, swa_epoch_start=1)
    moved = AWP(gamma=0.5, restore=restore)
    module = ard.Distillation(student=Net(), objective="pgd_at", eps=0.1, weight_perturbation=moved)
    plain_trainer(3, callbacks=[averaged]).fit(module, loader(96), loader(64, 1))
    assert averaged.average
    assert all(torch.equal(value, averaged.average[name]) for name, value in module.student.named_parameters())
