"""float16: a gradient that overflows is the scaler's business, until it never ends. Real float16, on the CPU."""

import json
from itertools import pairwise

import pytest
import torch
from pytorch_lightning import Callback
from pytorch_lightning.plugins import MixedPrecision
from tiny import user_error

from ard.artifacts.metrics import read_metrics
from ard.training.weight_perturbation import AWP

FREE = ["--model.init_args.replays=2", "--model.init_args.threat=ard.attacks.L2", "--model.init_args.threat.init_args.eps=1"]


class Float16(Callback):
    """What Lightning does on a GPU and refuses to on a CPU; `states` are the weights after each step."""

    def __init__(self, scale, growth=2000, backoff=0.5):
        options = {"init_scale": scale, "backoff_factor": backoff, "growth_interval": growth}
        self.scaler, self.states, self.scales = torch.amp.GradScaler("cpu", **options), [], []

    def setup(self, trainer, engine, stage):  # noqa: ARG002
        trainer.strategy._precision_plugin = MixedPrecision("16-mixed", "cpu", self.scaler)

    def on_train_batch_end(self, trainer, engine, *_):  # noqa: ARG002
        self.states.append([parameter.detach().clone() for parameter in engine.student.parameters()])
        self.scales.append(self.scaler.get_scale())


@pytest.mark.fault(8)
@pytest.mark.parametrize(("recipe", "epochs", "replays", "free"), [("pgd_at", 1, 1, []), ("free_at", 2, 2, FREE)])
def test_overflows_are_counted_and_the_run_goes_on(fit, tmp_path, observed, recipe, epochs, replays, free):
    options = ["--trainer.limit_train_batches=12", f"--trainer.max_epochs={epochs}"]
    engine = fit(tmp_path, recipe, *options, *free, callbacks=[half := Float16(2.0**24)]).model
    counts = [float(row["train/overflows"]) for row in read_metrics(tmp_path / "metrics.csv")]
    falls = [round(torch.tensor(2.0**24 / scale).log2().item()) for scale in half.scales]
    assert counts == falls  # every overflow halves the scale, nothing else does
    assert 1 < counts[-1] < 12 * replays
    still = [all(map(torch.equal, old, new)) for old, new in pairwise(half.states)]
    assert still == [later - earlier == replays for earlier, later in pairwise(falls)]
    assert all(value.isfinite().all() for value in engine.state_dict().values())
    if free:
        assert engine.delta.isfinite().all()
    assert not (tmp_path / "crash.json").exists()
    observed(f"train/overflows {counts[-1]:g} in metrics.csv, the run ends well")


@pytest.mark.fault(8)
def test_more_than_twenty_in_a_row_end_the_run(fit, tmp_path, observed):
    half = Float16(2.0**100)
    with user_error("float16 overflowed 21 times in a row") as caught:
        fit(tmp_path, "pgd_at", "--trainer.limit_train_batches=30", callbacks=[half])
    assert len(half.states) == 20
    assert json.loads((tmp_path / "crash.json").read_text())["scale"] == 2.0**80
    assert not (tmp_path / "last.ckpt").exists()
    observed(f"UserError, exit 2: {caught.value}")


def test_a_loss_that_is_not_finite_is_no_overflow(fit, tmp_path):
    class Poison(Callback):
        def on_train_batch_start(self, trainer, engine, batch, batch_idx):  # noqa: ARG002
            if batch_idx == 8:
                batch[0][0, 0, 0, 0] = torch.nan

    with user_error("^step 8 .*the loss is nan"):
        fit(tmp_path, "pgd_at", "--trainer.limit_train_batches=9", callbacks=[Float16(256.0), Poison()])


def test_weights_move_in_float16_as_far_as_in_float32(fit, tmp_path, monkeypatch):
    """Though the loss is so small that none of its gradients is more than 0 in float16."""
    small, moves, first = 1e-7, [], AWP.__call__

    def watched(awp, network, loss, beside=None):
        before = [weight.detach().clone() for weight in network.parameters()]
        undo = first(awp, network, lambda: small * loss(), beside)
        pairs = zip(network.parameters(), before, strict=True)
        moves.append(sum(float((now - old).detach().norm()) for now, old in pairs))
        return undo

    monkeypatch.setattr(AWP, "__call__", watched)
    options = ["--model.init_args.weight_perturbation.gamma=0.01", "--trainer.limit_train_batches=2"]
    fit(tmp_path / "half", "pgd_at", *options, callbacks=[Float16(2.0**16)])
    fit(tmp_path / "whole", "pgd_at", *options)
    assert moves[0] == pytest.approx(moves[2], rel=0.02)
