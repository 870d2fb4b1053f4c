"""NaN and Inf: a step with a loss or gradient that is not finite never reaches a checkpoint."""

import signal
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from ard.core.errors import StoppedError
from ard.objectives.returned import total_loss
from ard.training.callbacks.crash_report import OptimizerStep, described, write_crash
from ard.training.callbacks.guard import Guard
from ard.training.callbacks.ranks import over_all
from ard.training.engine import Engine

OVERFLOWS = 20  # in a row: the scale, halved each time, has then fallen by a factor of a million


@dataclass
class NonFinite:
    """On how many ranks the loss and the gradient norm are not finite, and each signal was received.

    On the CPU once `known` has happened.
    """

    counts: Tensor
    known: torch.cuda.Event | None

    def wait(self) -> tuple[bool, bool, int]:
        """Whether the loss, whether the gradient, and which signal; 0 for none."""
        if self.known is not None:
            self.known.synchronize()
        loss, gradient, *signals = self.counts.tolist()
        return loss > 0, gradient > 0, next((number for number, ranks in enumerate(signals) if ranks), 0)


class Finite(Guard):
    """Ends a run at the first loss or gradient norm that is not finite, on any rank; the first `skip` are left out instead.

    On the CPU that is before the optimiser steps. Asking a GPU at once would make it wait in every step, so its
    answer is read when the next step has been queued, and before anything is validated or saved: the weights such a step
    left behind in memory reach no file. With `skip`, or a scaler that waits anyway, it is asked before the step there too.
    Gradients that overflow in float16 belong to the scaler: they are counted, and more than 20 in a row end the run.

    Attributes:
        received: The signal that this process has received; 0: none.
        agreed: One that any process had received, known to all at the same step: it travels with the verdict.
    """

    received = agreed = 0

    def __init__(self, skip: int = 0) -> None:
        super().__init__(skipped_steps=0, overflows=0, overflows_in_a_row=0)
        self.skip = skip
        self._pending: tuple[OptimizerStep, NonFinite] | None = None
        self._batch = 0
        self._buffers: list[Tensor] = []

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        self._pending = None  # of a run that was ended in the middle of a step
        self.received = self.agreed = 0

    def on_train_batch_start(self, trainer: pl.Trainer, engine: pl.LightningModule, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        self._batch = batch_idx
        if batch_idx % trainer.accumulate_grad_batches == 0:  # what the later batches of a step find may be spoilt already
            self._keep_buffers(engine)

    @torch.no_grad()
    def on_before_optimizer_step(self, trainer: pl.Trainer, engine: pl.LightningModule, optimizer: Any) -> None:
        assert isinstance(engine, Engine)
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        loss, norm = total_loss(engine.terms).detach(), get_total_norm(gradients)
        counts = torch.stack([~loss.isfinite(), ~norm.isfinite()]).float()
        if trainer.world_size > 1:
            counts = torch.cat([counts, self._signals(counts)])
        verdict = _verdict(over_all(trainer, counts))
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        terms = {name: term.detach() for name, term in engine.terms.items() if term.ndim == 0}
        step = OptimizerStep(trainer.global_step, self._batch, optimizer.param_groups[0]["lr"], scaler, loss, norm, terms)
        self.finish_previous_step(trainer, engine)
        self._pending = step, verdict
        if verdict.known is None or self.skip or scaler is not None:
            self.finish_previous_step(trainer, engine)

    def finish_previous_step(self, trainer: pl.Trainer, engine: pl.LightningModule) -> None:
        """Wait for the loss and gradient norm of the step before, and act on them."""
        if self._pending is None:
            return
        (step, verdict), self._pending = self._pending, None
        loss, gradient, self.agreed = verdict.wait()
        engine.skipped = False  # type: ignore[assignment]
        overflowed = gradient and not loss and step.scaler is not None
        self.seen["overflows"] += overflowed
        self.seen["overflows_in_a_row"] = self.seen["overflows_in_a_row"] + 1 if overflowed else 0
        if loss or (gradient and not overflowed):
            self._not_finite(trainer, engine, step)
        elif self.seen["overflows_in_a_row"] > OVERFLOWS:
            raise StoppedError(
                f"{described(step, trainer)}: float16 overflowed {OVERFLOWS + 1} times in a row and no step was taken; "
                f"use --precision bf16-mixed or 32-true ({write_crash(trainer, engine, step)[0]})"
            )
        else:
            self._keep_buffers(engine)

    def _not_finite(self, trainer: pl.Trainer, engine: pl.LightningModule, step: OptimizerStep) -> None:
        if self.seen["skipped_steps"] >= self.skip:
            file, what = write_crash(trainer, engine, step)
            left_out = f" after {self.skip} that were left out" if self.skip else ""
            raise StoppedError(
                f"{described(step, trainer)}: {what}{left_out}; checkpoints are as they were, {file} has the images and "
                f"numbers; lower the learning rate, or leave out up to K such steps: --guards.skip_nonfinite K"
            )
        self.seen["skipped_steps"] += 1
        self.warn(trainer, f"{described(step, trainer)}: loss or gradient is not finite; the step is left out")
        engine.skipped = True  # type: ignore[assignment]
        # Without a gradient the optimiser moves nothing, not even momentum.
        trainer.optimizers[0].zero_grad(set_to_none=True)
        for buffer, old in zip(_buffers(engine), self._buffers, strict=True):
            buffer.copy_(old)

    def _signals(self, like: Tensor) -> Tensor:
        signals = like.new_zeros(signal.NSIG)
        if self.received:
            signals[self.received] = 1
        return signals

    def _keep_buffers(self, engine: pl.LightningModule) -> None:
        """BatchNorm statistics move in the forward pass, before its loss is known."""
        if self.skip:
            self._buffers = [buffer.clone() for buffer in _buffers(engine)]

    def on_train_batch_end(self, trainer: pl.Trainer, engine: pl.LightningModule, *_: Any) -> None:
        if self.skip:
            engine.log("train/skipped_steps", float(self.seen["skipped_steps"]))
        if getattr(trainer.precision_plugin, "scaler", None) is not None:
            engine.log("train/overflows", float(self.seen["overflows"]))

    def on_validation_start(self, trainer: pl.Trainer, engine: pl.LightningModule) -> None:
        self.finish_previous_step(trainer, engine)

    def on_train_epoch_end(self, trainer: pl.Trainer, engine: pl.LightningModule) -> None:
        self.finish_previous_step(trainer, engine)

    def on_validation_end(self, trainer: pl.Trainer, engine: pl.LightningModule) -> None:
        assert isinstance(engine, Engine)
        if not self.is_of_an_epoch(trainer):
            return
        metrics = {name: trainer.callback_metrics.get(name) for name in ("val/loss", engine.training_block.monitor)}
        wrong = [
            f"{name} is {float(value)}" for name, value in metrics.items() if value is not None and not value.isfinite()
        ]
        if wrong:
            raise StoppedError(
                f"epoch {trainer.current_epoch}: {', '.join(wrong)}: the weights are damaged and were not saved, "
                f"checkpoints are as they were"
            )

    def on_save_checkpoint(self, trainer: pl.Trainer, engine: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        self.finish_previous_step(trainer, engine)
        networks = {
            name: value for name, value in checkpoint["state_dict"].items() if name.startswith(("student", "average"))
        }
        finite = torch.stack([value.isfinite().all() for value in networks.values()])
        if not finite.all():
            first = next(name for name, well in zip(networks, finite.tolist(), strict=True) if not well)
            raise StoppedError(
                f"epoch {trainer.current_epoch}: {first} holds NaN or Inf, which no checkpoint may; the older ones are whole"
            )


def _verdict(counts: Tensor) -> NonFinite:
    if not counts.is_cuda:
        return NonFinite(counts.cpu(), None)
    host = torch.empty_like(counts, device="cpu", pin_memory=True).copy_(counts, non_blocking=True)
    known = torch.cuda.Event()
    known.record()
    return NonFinite(host, known)


def _buffers(engine: pl.LightningModule) -> list[Tensor]:
    assert isinstance(engine, Engine)
    return [*engine.student.buffers(), *engine.objective.buffers()]
