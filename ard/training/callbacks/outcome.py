"""The answer of a run: which epoch was chosen, how good it was, where its weights are, and what to do next."""

import shlex
from pathlib import Path

import pytorch_lightning as pl

from ard.artifacts.card import Card
from ard.artifacts.class_paths import is_ours
from ard.artifacts.metrics import read_validations
from ard.artifacts.paths import RunFolder
from ard.core.terminal import say
from ard.core.text import duration, percent
from ard.training.selection import why_none

NO_EPOCH_SELECTED = 3  # the exit status of a whole run of which no epoch is above chance
ADVICE = "the weights are those of the last: train longer, or with another learning rate, or a smaller eps"


def announce_weights(folder: RunFolder, weights: Path, card: Card, cut_short: str) -> int:
    """Print which epoch was chosen, how accurate it is and where its weights are; gives the exit status of the run.

    Epochs are counted from 0. A run of which no epoch is above chance has failed, unless these options cut it short.
    """
    training = card.training
    assert training is not None
    validations = read_validations(folder.metrics)
    found = [validation for validation in validations if validation.epoch == training.epoch]
    accuracies = "".join(
        f": {percent(v.clean_acc)} clean, {percent(v.robust_acc)} robust on validation images" for v in found
    )
    chosen = weights == folder.weights()  # for these the folder stands
    command = ["ard", "evaluate", str(weights.parent if chosen else weights)]
    if not is_ours(card.network or {}):
        command += ["--network", str(weights.with_name("config.yaml"))]
    which = "last" if training.of_last_epoch or training.of_no_epoch else "best"
    say(f"{which} epoch {training.epoch}{accuracies}; {duration(training.seconds)}")
    if training.of_no_epoch and not cut_short:
        say(f"{weights.stem}: {weights}")
        say(f"ard: {why_none(validations)}; {ADVICE}", error=True)
        return NO_EPOCH_SELECTED
    if training.of_no_epoch:
        say(f"cut short by {cut_short}: no epoch is above chance")
    say(f"{weights.stem}: {weights}\nnext: {shlex.join(command)}")
    return 0


def announce_nothing(trainer: pl.Trainer) -> None:
    """Say why a run has left no weights, be it on purpose."""
    if not trainer.is_global_zero:
        return
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        say(f"a rehearsal of {trainer.num_training_batches} training steps (fast_dev_run): no weights, nothing written")
        return
    asked = {"max_epochs": trainer.max_epochs, "limit_train_batches": trainer.limit_train_batches}
    zero = [f"{name} 0" for name, value in asked.items() if value == 0] or ["max_time is over"]
    say(f"nothing was trained ({', '.join(zero)}): no weights, nothing written")
