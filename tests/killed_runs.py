"""`ard fit` in processes of their own that get real signals; torch and Lightning are imported for all of them once."""

import json
import multiprocessing
import os
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import torch
from pytorch_lightning import Callback

from ard.run.metrics import read_metrics

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["killed_runs", "ard.cli", "ard.models", "ard.data"])
TIMES = ("train/images_per_s", "train/attack_share")
STATES = ("state_dict", "optimizer_states", "lr_schedulers")


class Witness(Callback):
    """Writes down which labels every step sees, and has its process hit by signals at one step of one epoch."""

    def __init__(self, file, epoch=-1, step=0, signals=()):
        self.file, self.epoch, self.step, self.signals = Path(file), epoch, step, signals

    def _hit(self, trainer, step):
        if (trainer.current_epoch, step) == (self.epoch, self.step):
            for number in self.signals:
                os.kill(os.getpid(), number)

    def on_train_batch_start(self, trainer, engine, batch, batch_idx):  # noqa: ARG002
        with open(f"{self.file}.{trainer.global_rank}", "a") as file:
            file.write(json.dumps([trainer.current_epoch, batch_idx, batch[1].tolist()]) + "\n")
        self._hit(trainer, batch_idx)

    def on_validation_batch_start(self, trainer, *_):
        self._hit(trainer, -1)

    def on_train_epoch_start(self, trainer, engine):  # noqa: ARG002
        self._hit(trainer, -2)


VALIDATION, EPOCH_START = -1, -2  # steps of a witness


def start(words, directory, at=(-1, 0), signals=()):
    """A process of `ard fit`, which gets `signals` at (epoch, step)."""
    process = CONTEXT.Process(target=_fit, args=(words, Path(directory), at, signals))
    process.start()
    return process


def ended(words, directory, at=(-1, 0), signals=()):
    """Its exit status, minus the signal where one killed it, and what it wrote."""
    process = start(words, directory, at, signals)
    process.join(600)
    talk = Path(directory).with_suffix(".out")
    said = talk.read_text() if talk.exists() else ""
    talk.unlink(missing_ok=True)
    return process.exitcode, said


def _fit(words, directory, at, signals):
    from ard.__main__ import main

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    witness = {"class_path": "killed_runs.Witness", "init_args": {"file": str(directory.with_suffix(".order"))}}
    witness["init_args"] |= {"epoch": at[0], "step": at[1], "signals": [int(number) for number in signals]}
    with open(directory.with_suffix(".out"), "a", buffering=1) as talk, redirect_stdout(talk), redirect_stderr(talk):
        sys.exit(main([*words, f"--trainer.callbacks={json.dumps([witness])}"]))


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
