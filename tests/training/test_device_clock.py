"""What a run's device worked: its training steps alone, added up over resumes."""

import json
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning import Callback
from test_resume import killed

from ard.artifacts.weights import read_weights
from ard.training import device_clock
from ard.training.device_clock import DeviceClock


@pytest.fixture
def now(monkeypatch):
    """The clocks of a CPU and of everything else."""
    clocks = SimpleNamespace(cpu=0.0, wall=0.0)
    fake = SimpleNamespace(process_time=lambda: clocks.cpu, monotonic=lambda: clocks.wall)
    monkeypatch.setattr(device_clock, "time", fake)
    return clocks


def test_only_what_lies_between_start_and_stop_counts(now):
    clock = DeviceClock(torch.device("cpu"))
    assert clock.taken() == 0
    clock.start()
    now.cpu, now.wall = 3, 50
    clock.start()  # it counts already
    now.cpu = 5
    clock.stop()
    now.cpu = 100
    clock.stop()
    assert clock.taken() == 5
    assert clock.taken() == 0
    clock.start()
    now.cpu = 101
    assert clock.taken() == 1
    now.cpu = 103
    assert clock.taken() == 2  # it went on


def test_other_devices_go_by_the_clock(now):
    clock = DeviceClock(torch.device("meta"))
    clock.start()
    now.cpu, now.wall = 3, 50
    assert clock.taken() == 50


class Work(Callback):
    """Spends CPU seconds by the double of a clock: 1 in every training step, 100 in every batch of validation."""

    def __init__(self, now):
        self.now = now

    def on_train_epoch_start(self, *_):
        self.now.cpu += 10_000

    def on_train_batch_end(self, *_):
        self.now.cpu += 1

    def on_validation_batch_end(self, *_):
        self.now.cpu += 100


OPTIONS = ["--trainer.max_epochs=3", "--trainer.limit_val_batches=1", "--trainer.limit_train_batches=2"]


def test_a_run_counts_its_steps_over_resumes_and_not_its_validation(fit, tmp_path, now):
    killed(fit, tmp_path, "pgd_at", *OPTIONS, kill=(1, 1), callbacks=[Work(now)])
    engine = fit(tmp_path, "pgd_at", *OPTIONS, "--ckpt_path=last", callbacks=[Work(now)]).model
    assert engine.trainer.global_step == 6
    for name in ("student", "last"):
        assert read_weights(tmp_path / f"{name}.safetensors")[1].training.device_seconds == 6
    assert json.loads((tmp_path / "summary.json").read_text())["device_seconds"] == 6
