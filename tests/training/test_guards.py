"""Guards change nothing in a healthy run; collapse, teachers that move, memory that runs out."""

import json
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning import Callback
from test_resume import KilledError, Order, assert_same_state, timeless
from tiny import user_error
from torch import nn

from ard.__main__ import main
from ard.attacks import PGD
from ard.cli.lightning import resolve_config
from ard.training import out_of_memory
from ard.training.callbacks.finite import Finite
from ard.training.callbacks.guards import Guards
from ard.training.config_digest import config_digest
from ard.training.replays import FreeDistillation

EPOCHS = ["--trainer.limit_train_batches=1.0", "--data.init_args.val_size=1300"]
FREE = ["--trainer.max_epochs=4", "--model.init_args.replays=2"]
RUNS = [("ard", ["--model.init_args.training.average=0.9", "--trainer.max_epochs=2"]), ("b_mtard", []), ("fast_ard", FREE)]


@pytest.mark.usefixtures("above_chance")
@pytest.mark.parametrize(("recipe", "options"), RUNS)
@pytest.mark.parametrize("more", [[], ["--guards.skip_nonfinite=3", "--guards.on_overfitting=rollback"]])
def test_a_healthy_run_is_the_same_without_guards(fit, tmp_path, monkeypatch, recipe, options, more):
    guarded = fit(tmp_path / "with", recipe, *EPOCHS, *options, *more).model
    monkeypatch.setattr(Guards, "callbacks", lambda _: [])
    alone = fit(tmp_path / "without", recipe, *EPOCHS, *options).model
    assert_same_state(guarded, alone)
    metrics = [{k: v for k, v in row.items() if "skipped" not in k} for row in timeless(tmp_path / "with")]
    assert metrics == timeless(tmp_path / "without")
    assert {file.name for file in (tmp_path / "with").iterdir()} - {
        file.name for file in (tmp_path / "without").iterdir()
    } == {"summary.json"}
    summary = json.loads((tmp_path / "with" / "summary.json").read_text())
    assert (summary["stopped"], summary["warnings"]) == (None, [])
    (finite,) = [guard for guard in guarded.trainer.callbacks if isinstance(guard, Finite)]
    assert (finite.seen["skipped_steps"], finite.seen["overflows"]) == (0, 0)


def test_guards_make_no_other_run_of_it():
    words = ["fit", "-c", "configs/digits.yaml", "-c", "configs/methods/pgd_at.yaml"]
    found = [resolve_config([*words, *more]) for more in ([], ["--guards.skip_nonfinite=3", "--guards.on_overfitting=warn"])]
    assert found[0]["guards"] != found[1]["guards"]
    assert config_digest(found[0]) == config_digest(found[1])
    assert config_digest(found[0]) == config_digest({key: value for key, value in found[0].items() if key != "guards"})


def test_the_help_explains_them(capsys):
    assert main(["fit", "--help-all"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--guards.skip_nonfinite" in text
    assert "how many training steps with NaN or Inf" in text


class Constant(nn.Module):
    """Answers every image with class 3, but barely."""

    def __init__(self, *, num_classes):
        super().__init__()
        self.bias = nn.Parameter(0.001 * torch.eye(num_classes)[3])
        self.scale = 1.0

    def forward(self, x):
        return self.scale * self.bias + 0 * x.flatten(1).sum(1, keepdim=True)


class Recovered(Callback):
    """In one epoch the network answers with another loss."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_validation_start(self, trainer, engine):
        engine.student.scale = 1000.0 if trainer.current_epoch == self.epoch else 1.0


COLLAPSED = [
    "--model.init_args.student=test_guards.Constant",
    "--model.init_args.training.lr=1e-9",
    "--trainer.limit_train_batches=20",
    "--trainer.max_epochs=12",
]


@pytest.mark.fault(38)
def test_collapse_is_warned_of_and_then_ends_the_run(fit, tmp_path, capsys, observed):
    """Not before the hundredth step: a healthy network may not have begun to learn."""
    with user_error("epoch 6: collapsed: .* 3 validations in a row") as caught:
        fit(tmp_path, "natural", *COLLAPSED, student=[])
    lines = [line for line in capsys.readouterr().err.splitlines() if "collapsed" in line]
    assert [line[:30] for line in lines] == ["ard: warning: epoch 4: collaps", "ard: warning: epoch 5: collaps"]
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["epoch"] == 5
    observed(f"{lines[0]}; UserError, exit 2: {caught.value}")


@pytest.mark.fault(38)
def test_a_network_that_comes_back_is_not_stopped(fit, tmp_path):
    with user_error("epoch 9: collapsed"):
        fit(tmp_path, "natural", *COLLAPSED, student=[], callbacks=[Recovered(6)])


def test_the_count_goes_on_after_a_resume(fit, tmp_path):
    with pytest.raises(KilledError):
        fit(tmp_path, "natural", *COLLAPSED, student=[], callbacks=[Order((6, 0))])
    with user_error("epoch 6: collapsed: .* 3 validations in a row"):
        fit(tmp_path, "natural", *COLLAPSED, "--ckpt_path=last", student=[])


class Careless(PGD):
    """As libraries' attacks do: whatever it finds ends in train mode, and is asked there."""

    network = None

    def begin(self, x, generator):
        if self.network is not None:
            self.network.train()
            with torch.no_grad():
                self.network(x)
            self.network.eval()
        return super().begin(x, generator)


class Optimised(Callback):
    """Two filters change places: no sum over the bits would notice."""

    def on_train_batch_end(self, trainer, engine, outputs, batch, batch_idx):  # noqa: ARG002
        if batch_idx == 0:
            weight = next(engine.teacher._held[0].parameters()).data
            weight[[0, 1]] = weight[[1, 0]]


class Wrapped(Callback):
    """Gives the attack the teacher to be careless with."""

    def on_train_start(self, trainer, engine):  # noqa: ARG002
        engine.attack.network = engine.teacher._held[0]


@pytest.mark.fault(21)
@pytest.mark.parametrize("device", [Wrapped, Optimised])
def test_a_teacher_that_moves_ends_the_run(fit, tmp_path, observed, device):
    attack = ["--model.init_args.attack=test_guards.Careless"]
    fit(tmp_path / "well", "ard", *attack)
    with user_error("epoch 0: the weights or BatchNorm statistics of teacher changed") as caught:
        fit(tmp_path / "run", "ard", *attack, callbacks=[device()])
    assert not (tmp_path / "run" / "last.ckpt").exists()
    observed(f"UserError, exit 2: {caught.value}")


def test_teachers_of_the_objective_are_watched_too(fit, tmp_path):
    class Moved(Callback):
        def on_train_batch_end(self, trainer, engine, *_):  # noqa: ARG002
            next(engine.objective.natural_teacher._held[0].buffers()).add_(1)

    with user_error("of objective.init_args.natural_teacher changed"):
        fit(tmp_path, "mtard", callbacks=[Moved()])


@pytest.mark.fault(41)
@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), RuntimeError("DefaultCPUAllocator: x")],
)
def test_memory_that_runs_out_is_one_line(command, tmp_path, capsys, monkeypatch, observed, error):
    def attack(*_):
        raise error

    monkeypatch.setattr(PGD, "__call__", attack)
    words = command(tmp_path / "run", "ard", "--trainer.precision=32-true")
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    for said in ("cpu is out of memory in step 0", "batch_size 32", "PGD of 7 steps", "precision 32-true"):
        assert said in line
    assert "try --precision bf16-mixed, or --batch-size 16" in line
    assert "batch_size: 32" in (tmp_path / "run" / "config.yaml").read_text()
    assert not (tmp_path / "run" / "last.ckpt").exists()
    observed(f"exit 2: {line}")


@pytest.mark.parametrize(("graphs", "kind"), [(True, "cuda"), (False, "cuda"), (True, "cpu")])
def test_on_a_gpu_the_memory_of_graphs_is_a_way_out(graphs, kind):
    data, attack = SimpleNamespace(batch_size=32), SimpleNamespace(steps=7)
    strategy = SimpleNamespace(root_device=torch.device(kind))
    trainer = SimpleNamespace(strategy=strategy, global_step=2, world_size=1, precision="bf16-mixed")
    said = out_of_memory._message(trainer, SimpleNamespace(data=data, attack=attack, replays=0, cuda_graph=graphs))
    assert ("--model.cuda_graph false" in said) == (graphs and kind == "cuda")
    assert not FreeDistillation.cuda_graph  # replays have no graphs to leave out


@pytest.mark.parametrize(("size", "devices", "half"), [(32, 1, 16), (1, 1, None), (6, 2, 2), (12, 8, None)])
def test_half_a_batch_is_one_that_the_devices_can_share(size, devices, half):
    data, attack = SimpleNamespace(batch_size=size), SimpleNamespace(steps=7)
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    trainer = SimpleNamespace(strategy=strategy, global_step=2, world_size=devices, precision="32-true")
    said = out_of_memory._message(trainer, SimpleNamespace(data=data, attack=attack, replays=0))
    way = f"--batch-size {half} (another run: scale the learning rate with it), or " if half else ""
    assert said.endswith(f"precision 32-true; try --precision bf16-mixed, or {way}more devices")


def test_other_errors_are_not_taken_for_it(fit, tmp_path, monkeypatch):
    monkeypatch.setattr(PGD, "__call__", lambda *_: (_ for _ in ()).throw(RuntimeError("shapes differ")))
    with pytest.raises(RuntimeError, match="shapes differ"):
        fit(tmp_path, "pgd_at")
