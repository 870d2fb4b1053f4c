"""crash.json: the images and numbers of a training step whose loss or gradient was not finite."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from ard.artifacts.paths import RunFolder
from ard.core.files import write_report
from ard.data import DataModule
from ard.training.engine import Engine


@dataclass(frozen=True)
class OptimizerStep:
    """One optimiser step; its tensors may still be under way on the device."""

    index: int
    batch: int
    lr: float
    scaler: torch.amp.GradScaler | None
    loss: Tensor
    norm: Tensor
    terms: dict[str, Tensor]


def described(step: OptimizerStep, trainer: pl.Trainer) -> str:
    """Where in the run it was."""
    return f"step {step.index} (epoch {trainer.current_epoch})"


def write_crash(trainer: pl.Trainer, engine: pl.LightningModule, step: OptimizerStep) -> tuple[Path, str]:
    """Write the file; returns its path and, in words, what was not finite. Every rank must call it."""
    assert isinstance(engine, Engine)
    own = {
        "rank": trainer.global_rank,
        "loss": _number(step.loss),
        "terms": {name: _number(term) for name, term in step.terms.items()},
        "images": images(engine, step.batch),
    }
    ranks: list[Any] = [own]
    if trainer.world_size > 1:
        ranks = [None] * trainer.world_size
        torch.distributed.all_gather_object(ranks, own)
    content = {
        "step": step.index,
        "epoch": trainer.current_epoch,
        "batch": step.batch,
        "learning_rate": step.lr,
        "gradient_norm": _number(step.norm),
        "precision": str(trainer.precision),
        "scale": step.scaler.get_scale() if step.scaler is not None else None,
        "ranks": ranks,
    }
    path = RunFolder.of(trainer.default_root_dir).crash
    if trainer.is_global_zero:
        write_report(path, json.dumps(content, indent=1) + "\n")
    trainer.strategy.barrier()
    return path, _what(content)


def images(engine: Engine, batch: int) -> list[int]:
    """Which images of the data set this rank saw; those mixed in from elsewhere count on from its last.

    None of them, an empty list, where the loaders are a user's own.
    """
    if not isinstance(engine.data, DataModule):
        return []
    chosen, training = engine.data.image_indices(batch), engine.data.splits[0]
    own = chosen < len(training)
    whole = len(training.images)
    return torch.where(own, training.indices[chosen.clamp_max(len(training) - 1)], whole + chosen - len(training)).tolist()


def _what(content: dict[str, Any]) -> str:
    bad = next((rank for rank in content["ranks"] if isinstance(rank["loss"], str)), None)
    if bad is None:
        return f"the gradient norm is {content['gradient_norm']}"
    where = f" on rank {bad['rank']}" if len(content["ranks"]) > 1 else ""
    terms = ", ".join(f"{name} {value}" for name, value in bad["terms"].items() if isinstance(value, str))
    return f"the loss is {bad['loss']}{where}" + (f" ({terms})" if terms else "")


def _number(value: Tensor) -> float | str:
    """A number for JSON, which has no NaN."""
    number = float(value)
    return float(f"{number:.6g}") if torch.isfinite(value) else str(number)
