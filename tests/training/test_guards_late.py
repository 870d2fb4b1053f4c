"""A GPU's answer comes a step late: what was not finite is known all the same before it does harm."""

import json
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from test_guards_finite import FIT, Poison, contents
from tiny import user_error

from ard.training.callbacks import finite


@pytest.fixture
def late(monkeypatch):
    """Verdicts that are known late, as a GPU's are: nobody may look before having waited."""
    waited = []

    def verdict(bad):
        hidden = torch.full_like(bad, torch.nan)
        event = SimpleNamespace(synchronize=lambda: waited.append(hidden.copy_(bad)))
        return finite.NonFinite(hidden, event)

    monkeypatch.setattr(finite, "_verdict", verdict)
    return waited


def test_a_gpu_is_not_waited_for_in_its_own_step(fit, tmp_path, late):
    poison = Poison((1, 1))
    with user_error(r"^step 4 \(epoch 1\): the loss is nan"):
        fit(tmp_path, "ard", *FIT, callbacks=[poison])
    assert max(poison.states) == (1, 2)  # the next step had been queued
    assert len(late) == 5
    assert json.loads((tmp_path / "crash.json").read_text())["batch"] == 1
    assert contents(tmp_path) == poison.files


@pytest.mark.parametrize("validation", [[], ["--trainer.limit_val_batches=0"]])
def test_the_last_step_of_an_epoch_is_known_before_it_is_validated_or_saved(fit, tmp_path, late, validation):
    poison = Poison((1, 2))
    with user_error(r"^step 5 \(epoch 1\): the loss is nan"):
        fit(tmp_path, "pgd_at", *FIT, *validation, callbacks=[poison])
    assert len(late) == 6
    assert contents(tmp_path) == poison.files


def test_a_checkpoint_within_an_epoch_waits_for_the_step_before_it(fit, tmp_path, late):  # noqa: ARG001
    every = ModelCheckpoint(tmp_path / "steps", filename="{step}", every_n_train_steps=1, save_top_k=-1)
    with user_error(r"^step 1 \(epoch 0\)"):
        fit(tmp_path, "pgd_at", *FIT, callbacks=[Poison((0, 1)), every])
    assert [file.name for file in (tmp_path / "steps").iterdir() if file.suffix == ".ckpt"] == ["step=1.ckpt"]
