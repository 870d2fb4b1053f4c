"""A run that was stopped and resumed against the same run left alone: same order, same weights, same rows."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import yaml
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import ModelCheckpoint
from tiny import user_error

from ard.artifacts.metrics import read_metrics
from ard.artifacts.weights import read_weights
from ard.attacks import folding
from ard.cli.lightning import resolve_config
from ard.training.config_digest import config_digest

CLOCKS = ("seconds", "images_per_s", "device_seconds")
EIGHT = "--trainer.max_epochs=8"  # one epoch of eight replays
TIMES = ("train/images_per_s", "train/attack_share")
WHOLE = ["--trainer.limit_train_batches=1.0", "--data.init_args.val_size=1300"]  # three steps an epoch
RUNS = {
    "pgd_at": [
        *WHOLE,
        "--trainer.max_epochs=3",
        "--data.init_args.crop_padding=1",
        "--model.init_args.training.average=0.9",
    ],
    # moved weights, and a pass of clean images, after each step
    "pgd_at_awp-as-released": [*WHOLE, "--trainer.max_epochs=3"],
    "fast_ard": [*WHOLE, "--trainer.max_epochs=6", "--model.init_args.replays=2"],
}


class KilledError(Exception):
    """The end of a process, as far as a run can tell."""


class Order(Callback):
    """Keeps the labels of every batch; `kill=(epoch, step)` ends the run before that step."""

    def __init__(self, kill=None):
        self.seen, self.kill = {}, kill

    def on_train_batch_start(self, trainer, engine, batch, batch_idx):  # noqa: ARG002
        if (trainer.current_epoch, batch_idx) == self.kill:
            raise KilledError
        self.seen[trainer.current_epoch, batch_idx] = batch[1].tolist()


def killed(fit, directory, recipe, *options, kill, callbacks=()):
    with pytest.raises(KilledError):
        fit(directory, recipe, *options, callbacks=[*callbacks, Order(kill)])


def timeless(directory):
    return [{k: v for k, v in row.items() if k not in TIMES} for row in read_metrics(directory / "metrics.csv")]


def assert_same_state(first, second):
    first, second = first.state_dict(), second.state_dict()
    assert first.keys() == second.keys()
    assert [name for name, value in first.items() if not torch.equal(value, second[name])] == []


@pytest.fixture(scope="module", params=RUNS)
def pair(request, fit, tmp_path_factory):
    """A run left alone, and the same one killed in its second epoch and resumed."""
    root, options = tmp_path_factory.mktemp("pair"), RUNS[request.param]
    alone = fit(root / "alone", request.param, *options, callbacks=[order := Order()]).model
    killed(fit, root / "killed", request.param, *options, kill=(1, 1))
    resumed = fit(root / "killed", request.param, *options, "--ckpt_path=last", callbacks=[again := Order()]).model
    return SimpleNamespace(root=root, alone=alone, resumed=resumed, order=order.seen, again=again.seen)


def test_a_resumed_run_ends_with_the_same_weights(pair):
    assert_same_state(pair.alone, pair.resumed)


def test_a_resumed_run_sees_the_images_in_the_same_order(pair):
    assert len(pair.order) == 9
    assert pair.again == {key: labels for key, labels in pair.order.items() if key[0] >= 1}
    epochs = [[pair.order[epoch, step] for step in range(3)] for epoch in range(3)]
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_a_resumed_run_has_the_same_metrics(pair):
    assert len(timeless(pair.root / "alone")) == 9
    assert timeless(pair.root / "killed") == timeless(pair.root / "alone")


def test_a_resumed_run_leaves_the_same_files(pair):
    files = [{file.name for file in (pair.root / name).iterdir()} for name in ("alone", "killed")]
    assert files[0] == files[1]
    assert {"config.yaml", "metrics.csv", "best.ckpt", "last.ckpt", "previous.ckpt", "student.safetensors"} <= files[0]


class DiesAtTheEnd(Callback):
    """After the last step and its checkpoint, before the weights are written."""

    def on_fit_end(self, *_):
        raise KilledError


@pytest.mark.parametrize("recipe", ["ard", "fast_ard", "mtard"])
def test_a_run_killed_after_its_last_step_is_told_as_if_it_had_been_left_alone(recipe, fit, tmp_path, monkeypatch):
    """Nothing is trained any more, so nothing says when training started; nor where the run had even ended."""
    with pytest.raises(KilledError):
        fit(tmp_path / "killed", recipe, EIGHT, callbacks=[DiesAtTheEnd()])
    fit(tmp_path / "alone", recipe, EIGHT)
    alone = read_weights(tmp_path / "alone" / "student.safetensors")[1].training
    monkeypatch.setattr("ard.training.stopwatch.time", SimpleNamespace(monotonic=lambda: 1e9))
    for name in ("killed", "alone"):
        fit(tmp_path / name, recipe, EIGHT, "--resume=auto")
        resumed = read_weights(tmp_path / name / "student.safetensors")[1].training
        assert 0 < resumed.seconds < 1e6
        assert replace(resumed, **dict.fromkeys(CLOCKS)) == replace(alone, **dict.fromkeys(CLOCKS))


# the one that wrote it has done its work
@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks")
@pytest.mark.parametrize("step", [1, 3])
def test_a_run_resumes_inside_an_epoch(fit, tmp_path, step):
    """From a checkpoint of Lightning's own callback, after `step` of an epoch's three steps; images are mixed and turned."""
    options = [*WHOLE, "--trainer.max_epochs=3", "--data.init_args.crop_padding=1"]
    options += ["--data.init_args.cutmix=0.7", "--data.init_args.rotation=15"]
    alone = fit(tmp_path / "alone", "pgd_at", *options, callbacks=[order := Order()]).model
    every = ModelCheckpoint(tmp_path / "steps", filename="{step}", every_n_train_steps=3 + step, save_top_k=-1)
    killed(fit, tmp_path / "killed", "pgd_at", *options, kill=(1 + step // 3, step % 3), callbacks=[every])
    checkpoint = tmp_path / "steps" / f"step={3 + step}.ckpt"
    rest = [*options, f"--ckpt_path={checkpoint}"]
    resumed = fit(tmp_path / "resumed", "pgd_at", *rest, callbacks=[again := Order()]).model
    assert again.seen == {key: labels for key, labels in order.seen.items() if key >= (1 + step // 3, step % 3)}
    assert_same_state(alone, resumed)


def test_the_average_resumes_inside_an_epoch(fit, tmp_path):
    """Lightning's callback writes before the engine's own end of the step: the average must not miss it."""
    every = ModelCheckpoint(tmp_path / "steps", filename="{step}", every_n_train_steps=2)
    fit(tmp_path / "run", "pgd_at", "--model.init_args.training.average=0.9", callbacks=[every])
    state = torch.load(tmp_path / "steps" / "step=2.ckpt", weights_only=True)["state_dict"]
    assert int(state["average.n_averaged"]) == 2


def test_an_epoch_cut_short_by_a_limit_resumes_at_the_start_of_the_next(fit, tmp_path):
    options = ["--trainer.limit_train_batches=2", "--trainer.max_epochs=3"]
    alone = fit(tmp_path / "alone", "natural", *options, callbacks=[order := Order()]).model
    killed(fit, tmp_path / "killed", "natural", *options, kill=(1, 0))
    resumed = fit(tmp_path / "killed", "natural", *options, "--ckpt_path=last", callbacks=[again := Order()]).model
    assert again.seen == {key: labels for key, labels in order.seen.items() if key[0] >= 1}
    assert_same_state(alone, resumed)


def test_a_second_run_in_the_same_directory_is_refused(fit, tmp_path):
    fit(tmp_path, "natural")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with user_error(f"{tmp_path} already holds a run: --resume auto continues it"):
        fit(tmp_path, "natural")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("recipe", ["ard", "free_at"])
def test_the_config_of_a_run_is_the_run(fit, tmp_path, recipe):
    replays = ["--trainer.max_epochs=8"] if recipe == "free_at" else []
    fit(tmp_path / "run", recipe, *replays, "--seed_everything=3")
    written = tmp_path / "run" / "config.yaml"
    again = resolve_config(["fit", "-c", str(written), f"--trainer.default_root_dir={tmp_path / 'other'}"])
    found = yaml.safe_load(written.read_text())
    assert config_digest(again) == config_digest(found)
    card = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["ard"]
    assert card["training"]["config_digest"] == config_digest(found)
    found["model"]["init_args"]["training"]["lr"] = 0.2
    assert config_digest(again) != config_digest(found)


def test_a_resumed_bf16_run_of_a_trained_network_folds_all_of_it_and_ends_with_the_same_weights(fit, tmp_path):
    """In bfloat16 the folded answers of a trained network are further from its own than those of a new one."""
    student = ["stages=[[1,16,1,1],[6,24,2,2]]", "head=32"]
    options = ["--trainer.precision=bf16-mixed", "--trainer.max_epochs=3", "--trainer.limit_train_batches=12"]
    few = {"student": [f"--model.init_args.student.init_args.{part}" for part in student]}
    alone = fit(tmp_path / "alone", "nfgsm", *options, **few).model
    with pytest.raises(KilledError):
        fit(tmp_path / "killed", "nfgsm", *options, callbacks=[Order((2, 1))], **few)
    resumed = fit(tmp_path / "killed", "nfgsm", *options, "--ckpt_path=last", **few).model
    assert_same_state(alone, resumed)
    norms = [module for module in resumed.student.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert len(folding._known[resumed.student].pairs) == len(norms) == 12
