"""How long a run is: batches and optimiser steps of an epoch, and of the whole run."""

from abc import ABC, abstractmethod
from functools import cached_property

import pytorch_lightning as pl

from ard.core.errors import UserError
from ard.data import DataModule
from ard.data.foreign import ForeignData

UNENDING = 10**12  # steps, as the length of an epoch or a run that does not end


class RunLength(pl.LightningModule, ABC):
    """A module that knows how long its run will be, from its data and its trainer."""

    @property
    @abstractmethod
    def data(self) -> DataModule | ForeignData:
        """The run's data."""

    def forget_length(self) -> None:
        """Ask data and trainer anew."""
        vars(self).pop("batches_per_epoch", None)
        vars(self).pop("optimizer_steps", None)

    @cached_property
    def batches_per_epoch(self) -> int:
        """Of an epoch; of our own data not asked of the trainer, which would set up the loader too early for a resume."""
        if not isinstance(self.data, DataModule):
            return int(min(self.trainer.num_training_batches, UNENDING))
        batches, limit = len(self.data.train_dataloader()), self.trainer.limit_train_batches
        return int(batches * limit) if isinstance(limit, float) else min(batches, limit)

    @property
    def steps_per_epoch(self) -> int:
        """How many times the optimiser steps in an epoch."""
        return -(-self.batches_per_epoch // self.trainer.accumulate_grad_batches)

    @cached_property
    def optimizer_steps(self) -> int:
        """How many times the optimiser will step in the whole run."""
        epochs, most = self.trainer.max_epochs or 1, self.trainer.max_steps
        steps = self.steps_per_epoch * (UNENDING if epochs < 0 else epochs)
        steps = steps if most < 0 else min(steps, most)
        if steps >= UNENDING:
            length_known = self.batches_per_epoch < UNENDING
            wanted = "max_epochs" if length_known else "limit_train_batches, as the loader has no length"
            raise UserError(f"a run without an end has no schedule: expected {wanted}, or max_steps, in the trainer")
        return steps

    @property
    def epochs(self) -> int:
        """How many epochs the run has; `max_steps` may end it in the last of them."""
        return -(-self.optimizer_steps // max(1, self.steps_per_epoch))
