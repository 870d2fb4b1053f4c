"""Two processes on the CPU: the same weights on both, random draws of their own, every image validated once."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from conftest import TINY
from ddp_pair import fit_by_call
from prepared import pair_environments, rank, start, statuses
from pytorch_lightning import Callback
from tiny import user_error

from ard.artifacts.metrics import read_metrics
from ard.artifacts.weights import card_of
from ard.core.files import sha256
from ard.core.statistics import chance_level
from ard.data import Digits
from ard.data.loading import Order
from ard.models import load
from ard.study.processes import Processes

TESTS = Path(__file__).parents[1]
VAL_SIZE = 193  # 97 and 96 images: seven and six batches of 16
REPLAYS = 2
PAIR = ["--trainer.devices=2", "--trainer.strategy=ddp"]


class Probe(Callback):
    """Each process writes what it drew, saw and became."""

    def __init__(self, directory: str) -> None:
        self.directory, self.found = Path(directory), {"starts": [], "labels": []}

    def on_train_start(self, trainer, engine):  # noqa: ARG002
        uniform = engine.threat.uniform

        def watched(x, generator):
            noise = uniform(x, generator)
            self.found["starts"].append(noise.flatten()[:4].tolist())
            return noise

        engine.threat.uniform = watched

    def on_train_batch_start(self, trainer, engine, batch, batch_idx):  # noqa: ARG002
        self.found["labels"].append(batch[1].tolist())

    def on_validation_batch_end(self, trainer, engine, *_):  # noqa: ARG002
        self.found["validated"] = [value.double().sum().item() for value in engine.selected.state_dict().values()]

    def on_fit_end(self, trainer, engine):
        self.found["weights"] = {name: value.double().sum().item() for name, value in engine.student.state_dict().items()}
        self.found["delta"] = None if getattr(engine, "delta", None) is None else engine.delta.flatten(1).sum(1).tolist()
        (self.directory / f"rank{trainer.global_rank}.json").write_text(json.dumps(self.found))


@pytest.fixture(scope="module", params=["ard", "fast_ard"])
def run(request, command, tmp_path_factory):
    """One epoch of three steps on two processes: of a study, where Lightning launches the second one, or started by hand."""
    directory = tmp_path_factory.mktemp("ddp")
    more = ["--trainer.limit_train_batches=3"]
    more += ["--trainer.limit_val_batches=1.0", f"--data.init_args.val_size={VAL_SIZE}"]
    more += ["--trainer.callbacks=test_ddp.Probe", f"--trainer.callbacks.directory={directory}"]
    if request.param == "fast_ard":
        more += [f"--model.init_args.replays={REPLAYS}", f"--trainer.max_epochs={REPLAYS}"]
    words = command(directory / "run", request.param, *more)
    if request.param == "fast_ard":
        pair = [start(rank, environment, words) for environment in pair_environments()]
        assert statuses(*pair) == [0, 0]
    else:
        path = f"{TESTS.parent}:{TESTS}:{TESTS / 'training'}"
        launched = Processes().run([*words, *PAIR], directory / "log", {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"})
        assert launched == 0, (directory / "log").read_text()[-3000:]
    ranks = [json.loads((directory / f"rank{number}.json").read_text()) for number in (0, 1)]
    return SimpleNamespace(files=directory / "run", ranks=ranks, free=request.param == "fast_ard")


def test_both_processes_end_with_the_same_weights(run):
    """BatchNorm statistics too, which the first process's checkpoint holds."""
    first, second = (rank["weights"] for rank in run.ranks)
    assert first == second
    saved = torch.load(run.files / "last.ckpt", weights_only=True)["state_dict"]
    for name, total in first.items():
        assert saved[f"student.{name}"].double().sum().item() == total


def test_both_processes_validate_the_network_that_is_saved(run):
    saved = torch.load(run.files / "last.ckpt", weights_only=True)["state_dict"]
    expected = [value.double().sum().item() for name, value in saved.items() if name.startswith("student.")]
    assert [rank["validated"] for rank in run.ranks] == [expected, expected]


def test_the_weights_are_written_once(run):
    names = {file.name for file in run.files.iterdir()}
    assert {"student.safetensors", "last.safetensors", "last.ckpt", "metrics.csv", "config.yaml"} <= names
    assert [name for name in names if name.endswith(".tmp") or "-v1" in name] == []
    assert card_of(run.files / "student.safetensors").training.processes == 2
    assert (run.files / "last.ckpt.sha256").read_text().split()[0] == sha256(run.files / "last.ckpt")


def test_every_process_trains_on_images_of_its_own(run):
    """Together they see the batches that one process would see."""
    first, second = (rank["labels"] for rank in run.ranks)
    data = Digits(batch_size=32, val_size=VAL_SIZE)
    images = data.splits[0]
    batches = list(Order(len(images), 32, lambda: 0, seed=0, rank=0, world_size=1))[:3]
    expected = [images.labels[batch].tolist() for batch in batches]
    assert [sorted(a + b) for a, b in zip(first, second, strict=True)] == [sorted(labels) for labels in expected]
    assert [len(labels) for labels in first] == [16, 16, 16]


def test_every_process_draws_starts_of_its_own(run):
    if run.free:
        first, second = (rank["delta"] for rank in run.ranks)
        saved = torch.load(run.files / "last.ckpt", weights_only=True)["delta"]
        assert saved.flatten(2).sum(2) == pytest.approx(torch.tensor([first, second]))
    else:
        first, second = (rank["starts"] for rank in run.ranks)
        assert len(first) == 3 + 7  # attacks in training; in validation, the process with more batches
        assert len(second) == 3 + 6
        assert not {tuple(start) for start in first} & {tuple(start) for start in second}
    assert first != second


@pytest.mark.fault(44)
def test_validation_counts_every_image_once(run, observed):
    images = Digits(batch_size=32, val_size=VAL_SIZE).splits[1]
    pixels, labels = images.__getitems__(list(range(VAL_SIZE)))
    with torch.no_grad():
        logits = load(run.files / "last.safetensors")(pixels.float() / 255)
    right = (logits.argmax(1) == labels).sum().item()
    row = read_metrics(run.files / "metrics.csv")[-1]
    assert float(row["val/clean_acc"]) == pytest.approx(right / VAL_SIZE, abs=1e-6)
    assert float(row["val/chance"]) == pytest.approx(chance_level(labels.bincount().tolist()), abs=1e-6)
    assert float(row["val/loss"]) == pytest.approx(F.cross_entropy(logits, labels).item(), rel=0.02)  # of shares' means
    observed(f"two processes count {VAL_SIZE} validation images once each: the accuracy of one process")


def test_a_call_gives_its_result_in_every_process(tmp_path):
    """The first writes the weights, which the second waits for."""
    words = [*TINY, "--trainer.accelerator=cpu", "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1"]
    pair = [start(fit_by_call, environment, tmp_path / "run", words) for environment in pair_environments()]
    assert statuses(*pair) == [0, 0]


def test_a_batch_that_cannot_be_shared_is_refused():
    data = Digits(batch_size=33)
    data.trainer = SimpleNamespace(world_size=2, global_rank=0, current_epoch=0)
    with user_error("batch_size = 33 is the global one: expected a multiple of 2 processes"):
        data.train_dataloader()


def test_a_process_without_a_validation_image_is_refused():
    data = Digits(batch_size=48, val_size=10)
    data.trainer = SimpleNamespace(world_size=12, global_rank=0, current_epoch=0)
    with user_error("val_size = 10: expected one validation image or more for each of 12 processes"):
        data.val_dataloader()
