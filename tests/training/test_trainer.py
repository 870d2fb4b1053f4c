"""`precision: auto`: bfloat16 where the hardware has it, and only there; a digest that calls it what it was called."""

import re

import pytest
import torch
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from tiny import user_error

from ard.__main__ import main
from ard.cli.lightning import resolve_config
from ard.training import trainer
from ard.training.config_digest import config_digest
from ard.training.trainer import Trainer, has_bfloat16

QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
FIT = ["fit", "-c", "configs/digits.yaml", "-c", "configs/methods/pgd_at.yaml"]


@pytest.mark.parametrize(("supported", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
@pytest.mark.parametrize("precision", ["auto", None])
def test_auto_is_what_the_hardware_has(monkeypatch, supported, expected, precision):
    monkeypatch.setattr(trainer, "has_bfloat16", lambda device: device == "cpu" and supported)
    assert Trainer(precision=precision, accelerator="cpu", **QUIET).precision == expected


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_what_is_asked_for_is_done(monkeypatch, precision):
    monkeypatch.setattr(trainer, "has_bfloat16", lambda _: precision == "32-true")
    assert Trainer(precision=precision, accelerator="cpu", **QUIET).precision == precision


@pytest.mark.parametrize(("avx512", "amx"), [(True, False), (False, True), (False, False)])
def test_a_cpu_has_it_by_avx512_or_amx(monkeypatch, avx512, amx):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert has_bfloat16("cpu") == (avx512 or amx)
    assert not has_bfloat16("mps")


@pytest.mark.parametrize("devices", [9, "9"])
def test_more_processes_than_cores_are_refused_and_gpus_are_not_counted(monkeypatch, devices):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    with user_error("devices 9: no GPU is seen here, and this CPU has 8 cores .*expected at most 8"):
        Trainer(devices=devices, accelerator="cpu", **QUIET)
    for fine in (8, "8", 1, "auto", -1):
        trainer.check_processes(fine, "cpu")
    trainer.check_processes(devices, "cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with user_error("no GPU is seen here"):
        trainer.check_processes(devices, "auto")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0}, raising=False)
    trainer.check_processes(2, "cpu")  # DistributedDataParallel can be tried on one core


@pytest.mark.parametrize(
    ("devices", "accelerator"), [("0", "auto"), ("0,1", "auto"), ([0], "cpu"), ("cuda:0", "auto"), ([], "cpu"), (1, "gpu")]
)
def test_gpus_that_are_named_where_none_is_seen(monkeypatch, devices, accelerator):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with user_error("no GPU is seen here; expected"):
        trainer.check_processes(devices, accelerator)


def test_auto_is_the_same_run_as_leaving_it_out_was():
    config = resolve_config(FIT)
    assert config["trainer"]["precision"] == "auto"
    digest = config_digest(config)
    config["trainer"]["precision"] = None
    assert config_digest(config) == digest
    config["trainer"]["precision"] = "32-true"
    assert config_digest(config) != digest


def test_a_power_of_ten_in_a_config_is_a_number(tmp_path):
    """YAML 1.1 takes 1e-3 for a text; the digest is that of 0.001."""
    configs = []
    for lr in ("1e-3", "0.001"):
        (tmp_path / "lr.yaml").write_text(f"model: {{init_args: {{training: {{lr: {lr}}}}}}}")
        configs.append(resolve_config([*FIT, "-c", str(tmp_path / "lr.yaml")]))
    first, second = configs
    assert first["model"]["init_args"]["training"]["lr"] == 0.001
    assert config_digest(first) == config_digest(second)


def test_an_unknown_precision_is_one_line(capsys):
    assert main([*FIT, "--trainer.precision=bf17"]) == 2
    error = capsys.readouterr().err
    assert "bf16-mixed" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("max_steps=10", "trainer.max_steps = 10: expected -1: --epochs N says how long a run is"),
        ("max_epochs=-1", "trainer.max_epochs = -1: expected a number of epochs"),
        ("max_epochs=null", "trainer.max_epochs = None: expected a number of epochs: --epochs N"),
        ("accumulate_grad_batches=2", "trainer.accumulate_grad_batches = 2: expected 1: guards and objectives count whole"),
        ("val_check_interval=0.25", "trainer.val_check_interval = 0.25: expected 1.0: what is validated is the epoch"),
        ("val_check_interval=1", "trainer.val_check_interval = 1: expected 1.0: what is validated is the epoch"),
        ("overfit_batches=3", "trainer.overfit_batches = 3: expected 0.0: --trainer.limit_train_batches N trains on few"),
        ("num_sanity_val_steps=2", "trainer.num_sanity_val_steps = 2: expected 0: `ard doctor` tries every part"),
        ("log_every_n_steps=0", "trainer.log_every_n_steps = 0: expected 1 or more"),
    ],
)
def test_what_would_make_a_run_another_one_is_refused(option, told):
    """Selection, schedule, guards and exact resume are by epochs of whole batches."""
    with user_error(re.escape(told)):
        resolve_config([*FIT, f"--trainer.{option}"])


def test_a_strategy_that_writes_its_own_checkpoints_is_refused():
    class Own(DDPStrategy):
        """As DeepSpeed's, which is one of these and asks no CheckpointIO."""

    with user_error("strategy = .*expected auto or ddp"):
        Trainer(accelerator="cpu", strategy=Own(), **QUIET)


def test_processes_that_are_spawned_are_refused():
    """A run holds open files and locks, which cannot be sent to them; `ddp` starts the command again instead."""
    with user_error("strategy = 'ddp_spawn': expected auto or ddp"):
        Trainer(accelerator="cpu", devices=2, strategy="ddp_spawn", **QUIET)


@pytest.mark.parametrize(
    ("device", "options", "expected"),
    [
        ("cuda", {}, True),
        ("cuda", {"benchmark": None, "deterministic": False}, True),
        ("cuda", {"deterministic": True}, None),
        ("cuda", {"deterministic": "warn"}, None),
        ("cuda", {"benchmark": False}, False),
        ("cpu", {}, None),
    ],
)
def test_cudnn_tries_its_algorithms_unless_equal_bits_are_asked_for(monkeypatch, device, options, expected):
    seen = {}
    monkeypatch.setattr(trainer, "device_type", lambda _: device)
    monkeypatch.setattr("pytorch_lightning.Trainer.__init__", lambda self, **given: seen.update(given))  # noqa: ARG005
    monkeypatch.setattr(Trainer, "strategy", SingleDeviceStrategy(), raising=False)
    Trainer(precision="32-true", **options)
    assert seen.get("benchmark") is expected
