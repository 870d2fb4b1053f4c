"""Signals that end a run: the step is finished and saved first."""

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint

from ard.artifacts.paths import RunFolder
from ard.core.terminal import say
from ard.training.callbacks.finite import Finite
from ard.training.checkpoints import Kept

# SIGUSR1 is what schedulers send before they pre-empt, SIGHUP that the terminal is gone; Windows has neither.
_STATUSES = {"SIGTERM": 143, "SIGUSR1": 143, "SIGHUP": 129, "SIGINT": 130}
STATUS = {getattr(signal, name): status for name, status in _STATUSES.items() if hasattr(signal, name)}


class Stop(Checkpoint):
    """On a signal of STATUS: last.ckpt of exactly this step, then that exit status; all ranks stop together.

    In the last step of an epoch and in validation, the epoch is finished first. A second Ctrl-C ends the run at once.
    Several processes agree by the verdict of `Finite`, which on GPUs is known a step later: nobody waits for it.
    """

    def __init__(self, directory: str) -> None:
        self.path = RunFolder.of(directory).last
        self.received = self.agreed = 0
        self.finite: Finite | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Take over from Lightning's handlers, which lose the epoch; the trainer puts back what there was before itself."""
        self.received = self.agreed = 0  # what ended another run does not end this one
        self.finite = next((one for one in trainer.callbacks if isinstance(one, Finite)), None)  # type: ignore[attr-defined]
        if threading.current_thread() is threading.main_thread():
            for number in STATUS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                    signal.signal(number, self._note)

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if self.agreed:  # only here is everything of the step before logged
            name, step = signal.Signals(self.agreed).name, trainer.global_step
            if trainer.is_global_zero:
                say(f"ard: {name} after step {step}: {self.path} holds it, --resume auto continues", error=True)
            # Lightning kills the first rank when another one ends with a status.
            raise SystemExit(STATUS[signal.Signals(self.agreed)] if trainer.is_global_zero else 0)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.is_last_batch:
            return  # a checkpoint of here would skip the epoch's end
        if trainer.world_size > 1 and self.finite is not None:
            self.agreed = self.finite.agreed
        else:
            self._agree(trainer)
        if self.agreed:
            trainer.save_checkpoint(self.path)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        self._agree(trainer)
        written = [Path(one.best_model_path) for one in trainer.checkpoint_callbacks if isinstance(one, Kept)]
        mine = self.path.parent.resolve() / self.path.name
        if self.agreed and mine not in written:  # else the callback before this one has just done it
            trainer.save_checkpoint(self.path)

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = self.received or number
        if self.finite is not None:
            self.finite.received = self.received

    def _agree(self, trainer: pl.Trainer) -> None:
        """All ranks must leave after the same step; this waits for all of them."""
        self.agreed = self.received
        if trainer.world_size > 1:
            agreed = torch.tensor(self.received, device=trainer.strategy.root_device)
            torch.distributed.all_reduce(agreed, torch.distributed.ReduceOp.MAX)
            self.agreed = int(agreed)
