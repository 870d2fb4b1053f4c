"""Layers of a student that their owner keeps in eval mode stay in it; a student that is whole in eval mode trains."""

from threading import Lock

import pytest
import pytorch_lightning as pl
import torch
from plain_runs import FOREIGN, PLAIN, Net, digits, fitted, loader, plain_trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import ard

pytestmark = PLAIN


class Held(pl.Callback):
    """Puts a layer into eval mode once the trainer has begun, as recipes of fine-tuning do."""

    def on_train_epoch_start(self, trainer, module):  # noqa: ARG002
        module.student.norm.eval()


@FOREIGN
@pytest.mark.parametrize("attack_mode", ["eval", "train"])
@pytest.mark.parametrize("by", ["its owner", "a callback"])
@pytest.mark.filterwarnings("ignore:the student keeps 1 BatchNorm2d in eval mode")
def test_a_batch_norm_that_was_put_into_eval_mode_learns_no_statistics(by, attack_mode):
    """Nor after a validation in the middle of an epoch, after which Lightning brings modes back."""
    student = Net()
    if by == "its owner":
        student.norm.eval()
    before, weight = student.norm.running_mean.clone(), student.norm.weight.detach().clone()
    callbacks = [Held()] if by == "a callback" else []
    trainer = plain_trainer(2, callbacks=callbacks, val_check_interval=1, num_sanity_val_steps=1)
    module = ard.Distillation(student=student, objective="pgd_at", eps=0.1, attack_mode=attack_mode)
    fitted(module, trainer=trainer)
    assert torch.equal(student.norm.running_mean, before)
    assert not torch.equal(student.norm.weight, weight)


@FOREIGN
def test_what_stays_in_eval_mode_is_said_and_a_network_that_is_whole_in_it_trains():
    student = Net()
    student.norm.eval()
    with pytest.warns(UserWarning, match="the student keeps 1 BatchNorm2d in eval mode"):
        fitted(ard.Distillation(student=student, objective="natural"))
    whole = Net().eval()
    before = whole.norm.running_mean.clone()
    fitted(ard.Distillation(student=whole, objective="natural"))
    assert not torch.equal(whole.norm.running_mean, before)


@FOREIGN
@pytest.mark.filterwarnings("ignore:the student keeps 1 BatchNorm2d in eval mode")
def test_a_second_fit_after_the_network_was_used_knows_what_was_held():
    module = ard.Distillation(student=Net(), objective="natural")
    module.student.norm.eval()
    before = module.student.norm.running_mean.clone()
    fitted(module)
    module.eval()
    fitted(module)
    assert torch.equal(module.student.norm.running_mean, before)


@FOREIGN
@pytest.mark.filterwarnings("ignore:the student keeps 1 BatchNorm1d in eval mode")
def test_batches_of_one_are_fine_where_batch_norm_is_held():
    student = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Linear(16, 10))
    student[2].eval()
    module, data = ard.Distillation(student=student, objective="natural"), TensorDataset(*digits(3))
    plain_trainer().fit(module, DataLoader(data, batch_size=1), loader(32, 1))
    assert module.trainer.global_step == 3


@FOREIGN
def test_a_student_that_cannot_be_copied_trains():
    student = Net()
    student.lock = Lock()
    assert fitted(ard.Distillation(student=student, objective="natural")).global_step == 3
