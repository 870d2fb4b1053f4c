"""Which epoch is selected: of those above chance, since no attack hurts a network that always names one class."""

from collections.abc import Sequence

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Timer

from ard.artifacts.metrics import Validation
from ard.core.text import percent

FEWEST = 3  # epochs of a run that was meant to learn something


def is_above_chance(trainer: pl.Trainer) -> bool:
    """Whether the epoch that was validated last is; True where nobody has logged the chance."""
    values = trainer.callback_metrics
    return "val/chance" not in values or Validation.of({"epoch": trainer.current_epoch, **values}).is_above_chance


def selected(validations: Sequence[Validation], monitor: str) -> Validation | None:
    """The first validation above chance with the highest value of the metric, as checkpoints choose it; None of none."""
    return max(
        (one for one in validations if one.is_above_chance),
        key=lambda one: getattr(one, monitor.removeprefix("val/")),
        default=None,
    )


def why_none(validations: Sequence[Validation]) -> str:
    """In words, where no epoch was selected."""
    best = max(validations, key=lambda one: one.clean_acc, default=None)
    if best is None or best.chance is None:
        return "no epoch is above chance"
    return (
        f"no epoch is above chance: the highest clean accuracy on validation images, {percent(best.clean_acc)} in epoch "
        f"{best.epoch}, is not above {percent(best.chance)}, what naming the most frequent class may reach"
    )


def cut_short(trainer: pl.Trainer) -> str:
    """Which options made the run too short to show what it can learn; empty for a whole one."""
    limit = trainer.limit_train_batches
    epochs = (trainer.max_epochs or 0) * (getattr(trainer.lightning_module, "replays", 0) or 1)  # as the trainer was told
    found = {
        f"limit_train_batches {limit}": limit != 1.0 or isinstance(limit, int),  # 1 is one batch
        f"max_steps {trainer.max_steps}": trainer.max_steps != -1,
        f"max_epochs {trainer.max_epochs}": 0 <= epochs < FEWEST,
        "max_time": any(_is_over(callback) for callback in trainer.callbacks if isinstance(callback, Timer)),  # type: ignore[attr-defined]
    }
    return ", ".join(option for option, is_set in found.items() if is_set)


def _is_over(timer: Timer) -> bool:
    left = timer.time_remaining()
    return left is not None and left <= 0
