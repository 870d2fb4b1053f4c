"""Collapse: a network that answers every image with the same class."""

import math
from typing import Any

import pytorch_lightning as pl
import torch

from ard.core.errors import StoppedError
from ard.training.callbacks.guard import Guard
from ard.training.callbacks.ranks import over_all
from ard.training.engine import Engine

PATIENCE = 3  # validations in a row: of published runs that sat there, one came back and those with a wrong option never

BEGINNING = 100  # optimiser steps in which a healthy network may not have begun to learn


class Collapse(Guard):
    """Warns when one class is all that is answered and the loss is within 1 % of ln C, that of guessing; then stops."""

    def __init__(self) -> None:
        super().__init__(collapsed_in_a_row=0)

    def on_validation_start(self, trainer: pl.Trainer, engine: pl.LightningModule) -> None:  # noqa: ARG002
        assert isinstance(engine, Engine)
        self._answers = torch.zeros(engine.num_classes, device=engine.device)

    def on_validation_batch_end(self, trainer: pl.Trainer, engine: pl.LightningModule, outputs: Any, *_: Any) -> None:  # noqa: ARG002
        if self.is_of_an_epoch(trainer):
            self._answers += torch.bincount(outputs["predicted"], minlength=len(self._answers))

    def on_validation_end(self, trainer: pl.Trainer, engine: pl.LightningModule) -> None:  # noqa: ARG002
        if not self.is_of_an_epoch(trainer):
            return
        answers, guessing = over_all(trainer, self._answers), math.log(len(self._answers))
        loss = float(trainer.callback_metrics["val/loss"])
        if trainer.global_step < BEGINNING or int((answers > 0).sum()) > 1 or abs(loss - guessing) > 0.01 * guessing:
            self.seen["collapsed_in_a_row"] = 0
            return
        self.seen["collapsed_in_a_row"] += 1
        text = (
            f"epoch {trainer.current_epoch}: collapsed: each of {int(answers.sum())} validation images is answered with "
            f"class {int(answers.argmax())}, val/loss {loss:.4f} is that of guessing"
        )
        if self.seen["collapsed_in_a_row"] >= PATIENCE:
            raise StoppedError(f"{text}, {PATIENCE} validations in a row: lower the learning rate or the weight decay")
        self.warn(trainer, text)
