"""Processes that train together: each keeps its own buffers over a resume."""

import os
import re
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from ard.core.errors import UserError
from ard.core.text import first_line


class Ranks(pl.Callback):
    """Saves and restores every rank's buffers.

    A checkpoint holds the first rank's BatchNorm statistics; inside an epoch those of the others differ.
    """

    def __init__(self) -> None:
        self.buffers: list[dict[str, Tensor]] = []

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.world_size > 1:
            mine = {name: buffer.cpu() for name, buffer in pl_module.named_buffers()}
            checkpoint["buffers"] = [{} for _ in range(trainer.world_size)]
            torch.distributed.all_gather_object(checkpoint["buffers"], mine)

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        self.buffers = checkpoint.get("buffers", [])

    @torch.no_grad()
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Not earlier: DistributedDataParallel begins by giving every rank the first one's."""
        if len(self.buffers) == trainer.world_size > 1:
            for name, buffer in pl_module.named_buffers():
                buffer.copy_(self.buffers[trainer.global_rank][name])
            if not pl_module.automatic_optimization:  # then it does so once more, in its first forward pass and in no other
                trainer.strategy.model.require_forward_param_sync = False  # type: ignore[union-attr]
        self.buffers = []


def over_all(trainer: pl.Trainer, values: Tensor, *, mean: bool = False) -> Tensor:
    """The sum over all processes, or the mean; nobody waits for a GPU, as in Lightning's `reduce`, which has a barrier."""
    if trainer.world_size == 1:
        return values
    values = values.clone()
    torch.distributed.all_reduce(values)
    return values / trainer.world_size if mean else values


def know_rank(trainer: pl.Trainer) -> None:
    """From now on `is_first` and Lightning's decorators go by the trainer, who asks whatever started the processes.

    Before, they have guessed: 0 on every node and under mpirun; and a run alone in one of srun's tasks counts from 0 again.
    """
    rank_zero_only.rank = trainer.global_rank  # type: ignore[attr-defined]


def is_first() -> bool:
    """Whether this is the process that prints and writes for all; known once there is a trainer."""
    return rank_zero_only.rank == 0  # type: ignore[attr-defined]


def lost(error: Exception) -> UserError | None:
    """The message for an exception that another process is gone or cannot be reached; None for any other exception."""
    if "EADDRINUSE" in str(error):
        return UserError(
            f"port {os.environ.get('MASTER_PORT')}, where the processes of this run are to meet, is in use: "
            "expected a free one; unset MASTER_PORT, or name another"
        )
    if not re.search(r"gloo|nccl|connection (closed|reset)", str(error), re.IGNORECASE):
        return None
    return UserError(
        f"another process of this run has ended, so this one ends too: --resume auto continues ({first_line(error)})"
    )
