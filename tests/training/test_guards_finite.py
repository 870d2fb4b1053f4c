"""NaN and Inf: the step is not taken, nothing is saved, the crash file says what it was made of."""

import json
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback
from tiny import user_error

from ard.__main__ import main
from ard.artifacts.metrics import read_metrics
from ard.data import Digits

FIT = ["--trainer.limit_train_batches=3", "--trainer.max_epochs=2"]
FREE = ["--trainer.limit_train_batches=3", "--trainer.max_epochs=4", "--model.init_args.replays=2"]
# NaN / NaN stays, sign(NaN) is 0
FREE += ["--model.init_args.threat=ard.attacks.L2", "--model.init_args.threat.init_args.eps=1"]
BEST = "--model.init_args.training.average=0.9"


class Poison(Callback):
    """Spoils the images of one batch, only its gradient or only its loss; keeps the state before every batch."""

    def __init__(self, at, what="images"):
        self.at, self.what, self.states, self.labels = tuple(at), what, {}, {}

    def on_train_start(self, trainer, engine):  # noqa: ARG002
        first = next(engine.student.parameters())
        if self.what == "gradient":
            first.register_hook(lambda grad: grad * torch.inf if self.now == self.at else grad)

    def on_train_batch_start(self, trainer, engine, batch, batch_idx):
        self.now = trainer.current_epoch, batch_idx
        self.labels[self.now] = batch[1].tolist()
        momentum = [state["momentum_buffer"].clone() for state in trainer.optimizers[0].state.values()]
        self.states[self.now] = {name: value.clone() for name, value in engine.state_dict().items()}, momentum
        self.files = contents(trainer.default_root_dir)
        if self.now == self.at and self.what == "images":
            batch[0][0, 0, 0, 0] = torch.nan

    def on_before_optimizer_step(self, trainer, engine, optimizer):  # noqa: ARG002
        if self.now == self.at and self.what == "loss":
            engine.terms = {**engine.terms, "constant": torch.tensor(torch.inf)}

    def on_exception(self, trainer, engine, exception):  # noqa: ARG002
        self.left = {name: value.clone() for name, value in engine.state_dict().items()}


class Spoil(Callback):
    """Weights become NaN after an epoch's last step, as an optimiser of one's own may make them."""

    def __init__(self, epoch=1):
        self.epoch = epoch

    def on_train_batch_end(self, trainer, engine, *_):
        if trainer.is_last_batch and trainer.current_epoch == self.epoch:
            next(engine.student.parameters()).data.fill_(torch.nan)


def contents(directory):
    return {file.name: file.read_bytes() for file in Path(directory).glob("*.ckpt*")}


def parameters(engine_state):
    return {name: value for name, value in engine_state.items() if "running" not in name and "num_batches" not in name}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())


@pytest.mark.fault(6)
@pytest.mark.parametrize(("recipe", "options"), [("pgd_at", FIT), ("ard", [*FIT, BEST]), ("fast_ard", FREE)])
@pytest.mark.parametrize("what", ["images", "gradient", "loss"])
def test_the_step_is_not_taken_and_nothing_is_saved(fit, tmp_path, observed, recipe, options, what):
    poison = Poison((1, 1), what)
    with user_error("checkpoints are as they were") as caught:
        fit(tmp_path, recipe, *options, callbacks=[poison])
    replays = 2 if recipe == "fast_ard" else 1
    reason = {"images": "the loss is nan", "gradient": "the gradient norm is (inf|nan)", "loss": "the loss is inf"}
    assert caught.match(rf"^step {4 * replays} \(epoch 1\): {reason[what]}")
    assert same(parameters(poison.left), parameters(poison.states[1, 1][0]))
    assert contents(tmp_path) == poison.files
    assert poison.files.keys() >= {"last.ckpt", "best.ckpt"}
    assert not (tmp_path / "student.safetensors").exists()
    assert json.loads((tmp_path / "summary.json").read_text())["stopped"] == str(caught.value)
    if recipe == "pgd_at":
        observed(f"UserError, exit 2: {caught.value}")


def test_the_crash_file_has_the_images_and_the_numbers(fit, tmp_path):
    poison = Poison((1, 1))
    with user_error("crash.json"):
        fit(tmp_path, "ard", *FIT, callbacks=[poison])
    crash = json.loads((tmp_path / "crash.json").read_text())
    assert (crash["step"], crash["epoch"], crash["batch"]) == (4, 1, 1)
    (rank,) = crash["ranks"]
    assert Digits().training_images().labels[rank["images"]].tolist() == poison.labels[1, 1]
    assert (rank["loss"], rank["rank"], crash["gradient_norm"]) == ("nan", 0, "nan")
    assert "nan" in rank["terms"].values()
    assert 0 < crash["learning_rate"] < 1
    assert crash["scale"] is None
    assert crash["precision"] in ("bf16-mixed", "32-true")


@pytest.mark.fault(6)
@pytest.mark.parametrize(
    ("recipe", "options", "bad"),
    [("pgd_at", [*FIT, BEST], 1), ("b_mtard", FIT, 1), ("fast_ard", [*FREE, BEST], 2)],
)
@pytest.mark.parametrize("what", ["images", "gradient"])
def test_steps_may_be_left_out(fit, tmp_path, observed, recipe, options, bad, what):
    """Weights, momentum, average, BatchNorm statistics and the objective's state are those from before, bit for bit."""
    poison = Poison((1, 1), what)
    engine = fit(tmp_path, recipe, *options, f"--guards.skip_nonfinite={bad}", callbacks=[poison]).model
    (before, momentum), (after, momentum_after) = poison.states[1, 1], poison.states[1, 2]
    assert same(before, after)
    assert all(torch.equal(old, new) for old, new in zip(momentum, momentum_after, strict=True))
    assert not same(after, engine.state_dict())
    assert all(value.isfinite().all() for value in engine.state_dict().values())
    counts = [float(row["train/skipped_steps"]) for row in read_metrics(tmp_path / "metrics.csv")]
    assert counts == [0, 0, 0, 0, bad, bad]
    assert engine.trainer.global_step == 6 * bad
    if recipe == "pgd_at":
        observed(f"--guards.skip_nonfinite {bad}: train/skipped_steps {counts[-1]:g} in metrics.csv, the run ends well")


def test_more_than_may_be_left_out_ends_the_run(fit, tmp_path):
    with user_error("step 2 .* after 1 that were left out"):
        fit(tmp_path, "pgd_at", *FIT, "--guards.skip_nonfinite=1", callbacks=[Poison((0, 1)), Poison((0, 2))])


def test_what_was_left_out_counts_after_a_resume_too(fit, tmp_path):
    options = [*FIT, "--guards.skip_nonfinite=1", "--model.init_args.training.schedule=multistep"]  # it may go on longer
    fit(tmp_path, "natural", *options, callbacks=[Poison((1, 1))])
    with user_error("after 1 that were left out"):
        more = ["--trainer.max_epochs=3", "--ckpt_path=last"]
        fit(tmp_path, "natural", *options, *more, callbacks=[Poison((2, 1))])


@pytest.mark.fault(7)
@pytest.mark.parametrize("epoch", [0, 1])
def test_spoilt_weights_are_never_the_best(fit, tmp_path, observed, epoch):
    with user_error(f"epoch {epoch}: val/loss is nan") as caught:
        fit(tmp_path, "pgd_at", *FIT, callbacks=[Spoil(epoch)])
    best = tmp_path / "best.ckpt"
    assert best.exists() == (epoch == 1)
    for file in tmp_path.glob("*.ckpt"):
        state = torch.load(file, weights_only=True)["state_dict"]
        assert all(value.isfinite().all() for value in state.values())
    observed(f"UserError, exit 2: {caught.value}")


@pytest.mark.fault(7)
def test_spoilt_weights_are_not_saved_where_nothing_is_validated(fit, tmp_path):
    with user_error(r"epoch 1: student\.\S+ holds NaN or Inf, which no checkpoint may"):
        fit(tmp_path, "pgd_at", *FIT, "--trainer.limit_val_batches=0", callbacks=[Spoil()])
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["epoch"] == 0


@pytest.mark.fault(6)
def test_the_command_ends_with_one_line_and_a_status(command, tmp_path, capsys, monkeypatch, observed):
    monkeypatch.chdir(tmp_path)
    words = command(tmp_path / "run", "pgd_at", *FIT, "--trainer.callbacks=test_guards_finite.Poison")
    assert main([*words, "--trainer.callbacks.at=[0,1]"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ard: step 1 (epoch 0): the loss is nan (ce nan); checkpoints are as they were")
    assert (tmp_path / "run" / "crash.json").is_file()
    observed(f"exit 2: {line}")


def test_options_that_make_no_sense(command, tmp_path, capsys):
    for option, found in [
        ("--guards.skip_nonfinite=-1", "skip_nonfinite = -1: expected at least 0"),
        ("--guards.skip_nonfinite=few", "skip_nonfinite"),
        ("--guards.skip_nonfnite=1", "did you mean 'skip_nonfinite'?"),
        ("--guard.skip_nonfinite=1", "did you mean 'guards'?"),
    ]:
        assert main(command(tmp_path / "run", "pgd_at", option)) == 2
        assert found in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
