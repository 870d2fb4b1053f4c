"""Teachers must end a run with the bits they began it with."""

import pytorch_lightning as pl

from ard.core.errors import StoppedError
from ard.training.callbacks.guard import Guard
from ard.training.engine import Engine


class UnchangedTeachers(Guard):
    """Compares digests of every teacher's parameters and buffers after each epoch, before it is saved."""

    def on_train_start(self, trainer: pl.Trainer, engine: pl.LightningModule) -> None:  # noqa: ARG002
        self._before = _digests(engine)

    def on_train_epoch_end(self, trainer: pl.Trainer, engine: pl.LightningModule) -> None:
        after = _digests(engine)
        moved = [place for place, digest in self._before.items() if after[place] != digest]
        if moved:
            raise StoppedError(
                f"epoch {trainer.current_epoch}: the weights or BatchNorm statistics of {', '.join(moved)} changed while "
                f"the student was trained: something put it into train mode or optimised it; nothing of this epoch was saved"
            )


def _digests(engine: pl.LightningModule) -> dict[str, str]:
    assert isinstance(engine, Engine)
    return {place: teacher.fingerprint() for place, teacher in engine.teachers().items()}
