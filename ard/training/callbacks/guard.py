"""The base of the guards: their observations are kept in every checkpoint, and a warning is one line."""

from typing import Any

import pytorch_lightning as pl

from ard.core.terminal import say


class Guard(pl.Callback):
    """Watches a run without touching it; `seen` is saved in checkpoints, its warnings in the run's summary too."""

    def __init__(self, **seen: Any) -> None:
        self._nothing = seen
        self.seen: dict[str, Any] = {**seen, "warnings": []}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:  # noqa: ARG002
        """What was seen of another run is nothing to one that begins; what a checkpoint holds is read after this."""
        if stage == "fit" and trainer.global_step == 0:
            self.seen = {**self._nothing, "warnings": []}

    @staticmethod
    def is_of_an_epoch(trainer: pl.Trainer) -> bool:
        """Whether the validation under way is one of training: neither a check before it nor `trainer.validate`."""
        return trainer.state.fn == "fit" and not trainer.sanity_checking

    def state_dict(self) -> dict[str, Any]:
        return {**self.seen, "warnings": list(self.seen["warnings"])}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen |= state

    def warn(self, trainer: pl.Trainer, text: str) -> None:
        """Print the warning once, and keep it for the summary."""
        self.seen["warnings"].append(text)
        if trainer.is_global_zero:
            say(f"ard: warning: {text}", error=True)
