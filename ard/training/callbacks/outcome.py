"""The last line of a run: where its weights are, of which epoch, and the command that evaluates them."""

import shlex
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint

from ard.artifacts.card import Card
from ard.artifacts.class_paths import is_ours
from ard.core.terminal import say


def announce_weights(trainer: pl.Trainer, weights: Path, card: Card) -> None:
    """Print one line about the weights that were exported; epochs are counted from 0, as in metrics.csv."""
    training = card.training
    assert training is not None
    monitors = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]
    best = {callback.monitor: callback.best_model_score for callback in monitors}.get(training.selected_by)
    score = "" if best is None else f", {training.selected_by} {float(best):.3f}"
    command = ["ard", "evaluate", str(weights)]
    if not is_ours(card.network or {}):
        command += ["--network", str(weights.with_name("config.yaml"))]
    say(f"{weights.stem}: {weights} (epoch {training.epoch}{score}); next: {shlex.join(command)}")
