"""A trainer's number of epochs while a fit has another one: afterwards it is its own again, however the fit ends."""

from typing import Any

import pytorch_lightning as pl


class LentEpochs(pl.Callback):
    """Gives back what `take` took, after the other callbacks of a fit that ends, is refused, or breaks off."""

    def __init__(self) -> None:
        self.own: int | None = None

    def take(self, trainer: pl.Trainer, epochs: int) -> None:
        """Have the trainer go through the data so many times."""
        self.own, trainer.fit_loop.max_epochs = trainer.max_epochs, epochs

    def teardown(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        self._give_back(trainer)

    def on_exception(self, trainer: pl.Trainer, *_: Any) -> None:
        self._give_back(trainer)

    def _give_back(self, trainer: pl.Trainer) -> None:
        if self.own is not None:
            trainer.fit_loop.max_epochs, self.own = self.own, None
