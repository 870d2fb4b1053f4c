"""Several processes agree on a signal without a word of their own, and without waiting for a GPU."""

import signal
from types import SimpleNamespace

import pytest
import torch
from graph_double import nobody_waits

from ard.training.callbacks.finite import Finite, NonFinite
from ard.training.callbacks.signals import Stop


class Pair:
    """A trainer's face on one of two processes, of which the other received `theirs`."""

    world_size, is_last_batch, current_epoch, global_step = 2, False, 0, 7
    is_global_zero = True
    precision_plugin = SimpleNamespace()

    def __init__(self, finite, theirs):
        self.callbacks, self.saved, self.theirs = [finite], [], theirs

    def all_reduce(self, counts):
        if self.theirs:
            counts[2 + self.theirs] += 1

    def save_checkpoint(self, path):
        self.saved.append(path)


def run(tmp_path, monkeypatch, *, ours=0, theirs=0, late=False):
    """One step, or two where the verdict of a step is known when the next one is queued."""
    engine = torch.nn.Linear(1, 1)
    engine.terms, optimizer = {"loss": torch.tensor(1.0)}, torch.optim.SGD(engine.parameters(), 0.1)
    finite, stop = Finite(), Stop(tmp_path)
    trainer = Pair(finite, theirs)
    monkeypatch.setattr("ard.training.callbacks.finite.Engine", torch.nn.Module)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("torch.distributed.barrier", lambda *_, **__: pytest.fail("NCCL's barrier waits for the GPU"))
    if late:
        event = SimpleNamespace(synchronize=lambda: None)
        monkeypatch.setattr("ard.training.callbacks.finite._verdict", lambda counts: NonFinite(counts, event))
    stop.on_train_start(trainer, engine)
    if ours:
        stop._note(ours, None)
    for _ in range(1 + late):
        assert trainer.saved == []
        monkeypatch.setattr("torch.distributed.all_reduce", trainer.all_reduce)
        finite.on_before_optimizer_step(trainer, engine, optimizer)
        monkeypatch.setattr("torch.distributed.all_reduce", lambda *_: pytest.fail("a message of its own"))
        with nobody_waits():
            stop.on_train_batch_end(trainer)
    return stop, trainer


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("options", [{"ours": signal.SIGTERM}, {"theirs": signal.SIGTERM}], ids=["ours", "theirs"])
def test_both_leave_after_the_same_step(tmp_path, monkeypatch, options, late):
    stop, trainer = run(tmp_path, monkeypatch, late=late, **options)
    assert (stop.agreed, trainer.saved) == (signal.SIGTERM, [stop.path])


def test_nobody_leaves_without_a_signal(tmp_path, monkeypatch):
    stop, trainer = run(tmp_path, monkeypatch, late=True)
    assert (stop.agreed, trainer.saved) == (0, [])
