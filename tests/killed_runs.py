"""`ard fit` in processes of their own that get real signals; torch and Lightning are imported for all of them once."""

import itertools
import json
import os
import signal
import time
from pathlib import Path

import torch
from prepared import enter_pair, pair_environments, start, statuses
from pytorch_lightning import Callback

from ard.artifacts.metrics import read_metrics

TIMES = ("train/images_per_s", "train/attack_share")
PAIR = ["--trainer.devices=2", "--trainer.strategy=ddp"]
STATES = ("state_dict", "optimizer_states", "lr_schedulers")


class Witness(Callback):
    """Writes down which labels every step sees, and has its process hit by signals at one step of one epoch."""

    def __init__(self, file, epoch=-1, step=0, signals=(), rank=0, hang=False, grace=True):
        self.file, self.epoch, self.step, self.signals = Path(file), epoch, step, signals
        self.rank, self.hang = rank, hang  # who is hit, and whether the other one never comes back from this step
        self.grace = grace  # whether the process may finish the epoch it was hit in

    def _hit(self, trainer, step):
        if (trainer.current_epoch, step) == (self.epoch, self.step):
            if trainer.global_rank == self.rank:
                for number in self.signals:
                    os.kill(os.getpid(), number)
            elif self.hang:
                time.sleep(600)

    def on_train_batch_start(self, trainer, engine, batch, batch_idx):  # noqa: ARG002
        with open(f"{self.file}.{trainer.global_rank}", "a") as file:
            file.write(json.dumps([trainer.current_epoch, batch_idx, batch[1].tolist()]) + "\n")
        self._hit(trainer, batch_idx)

    def on_validation_batch_start(self, trainer, *_):
        self._hit(trainer, -1)
        if not self.grace and trainer.current_epoch == self.epoch:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_train_epoch_start(self, trainer, engine):  # noqa: ARG002
        self._hit(trainer, -2)


VALIDATION, EPOCH_START = -1, -2  # steps of a witness


def ended(words, directory, **witness):
    """Exit status of a process of `ard fit`, minus the signal where one killed it, and what it wrote."""
    (status,) = statuses(_started(words, directory, witness))
    return status, _said(directory)


def pair_ended(words, directory, **witness):
    """The same of two processes that train together."""
    pair = [_started([*words, *PAIR], directory, witness, environment) for environment in pair_environments()]
    return statuses(*pair), _said(directory)


def _started(words, directory, witness, environment=None):
    talk = Path(directory).with_suffix(".out")
    return start(_fit, [*words, witnessed(directory, **witness)], witness.get("sync"), environment or {}, words=talk)


def witnessed(directory, **witness):
    """The option that sets a witness beside a run."""
    chosen = {name: value for name, value in witness.items() if name != "sync"}
    init_args = {"file": str(Path(directory).with_suffix(".order")), **chosen}
    return f"--trainer.callbacks={json.dumps([{'class_path': 'killed_runs.Witness', 'init_args': init_args}])}"


def _said(directory):
    talk = Path(directory).with_suffix(".out")
    said = talk.read_text() if talk.exists() else ""
    talk.unlink(missing_ok=True)
    lines = [line for line in said.splitlines(keepends=True) if "Traceback" in line or line.startswith("ard: ")]
    return "".join(line for line in lines if not line.startswith("ard: warning: "))  # a random teacher's


def _deadly(sync, count, last):
    """os.fsync that kills the process in place of its `last` call: what was written is half there."""

    def synced(descriptor):
        if next(count) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(descriptor)

    return synced


def _fit(words, sync, environment):
    from ard.__main__ import main
    from ard.artifacts.metrics import Validation

    Validation.is_above_chance = True  # these runs are of a few steps
    os.fsync = _deadly(os.fsync, itertools.count(1), sync)
    enter_pair(environment)
    return main(words)


def order(directory, rank=0):
    """What every step saw: (epoch, step) -> labels; a step that was done twice must have seen the same."""
    seen = {}
    for line in Path(f"{Path(directory).with_suffix('.order')}.{rank}").read_text().splitlines():
        epoch, step, labels = json.loads(line)
        assert seen.setdefault((epoch, step), labels) == labels
    return seen


def timeless(directory):
    return [{k: v for k, v in row.items() if k not in TIMES} for row in read_metrics(Path(directory) / "metrics.csv")]


def states(directory, name="last"):
    """Weights, optimiser and schedule of a checkpoint."""
    content = torch.load(Path(directory) / f"{name}.ckpt", weights_only=True)
    return {part: content[part] for part in STATES} | {key: content[key] for key in ("delta", "buffers") if key in content}


def differences(first, second, place=""):
    """Where two trees of tensors and plain values differ in a bit."""
    if isinstance(first, torch.Tensor):
        return [] if torch.equal(first, second) else [place]
    if isinstance(first, dict | list | tuple):
        pairs = first.items() if isinstance(first, dict) else enumerate(first)
        if len(first) != len(second):
            return [place]
        return [found for key, value in pairs for found in differences(value, second[key], f"{place}.{key}")]
    return [] if first == second else [place]


def assert_same_run(alone, other):
    """Weights, optimiser, schedule, metrics and sample order, bit for bit; only the clock may differ."""
    for name in ("last", "best"):
        assert differences(states(alone, name), states(other, name)) == []
    assert timeless(alone) == timeless(other)
    assert order(alone) == order(other)
    assert {file.name for file in alone.iterdir()} == {file.name for file in other.iterdir()}
