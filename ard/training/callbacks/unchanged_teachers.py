"""Teachers must end a run with the bits they began it with."""

import pytorch_lightning as pl
from torch import Tensor

from ard.core.errors import StoppedError
from ard.core.same_bits import copied, same_bits, tensors_of
from ard.training.callbacks.guard import Guard
from ard.training.engine import Engine


class UnchangedTeachers(Guard):
    """Compares every teacher's parameters and buffers, bit for bit, after each epoch, before it is saved.

    A copy of them lies beside them on their device: a digest would have to fetch them from there in every epoch.
    """

    def on_train_start(self, trainer: pl.Trainer, engine: pl.LightningModule) -> None:  # noqa: ARG002
        self._before = {place: copied(tensors) for place, tensors in _tensors(engine).items()}

    def on_train_epoch_end(self, trainer: pl.Trainer, engine: pl.LightningModule) -> None:
        now = _tensors(engine)
        moved = [place for place, before in self._before.items() if not same_bits(before, now[place])]
        if moved:
            raise StoppedError(
                f"epoch {trainer.current_epoch}: the weights or BatchNorm statistics of {', '.join(moved)} changed while "
                f"the student was trained: something put it into train mode or optimised it; nothing of this epoch was saved"
            )


def _tensors(engine: pl.LightningModule) -> dict[str, dict[str, Tensor]]:
    assert isinstance(engine, Engine)
    return {place: tensors_of(*teacher.networks) for place, teacher in engine.teachers().items()}
