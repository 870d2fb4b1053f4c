"""Checks of the folder the run would write to: space, permission, an earlier run there, and its loggers."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pytorch_lightning.loggers import WandbLogger

from ard.artifacts.paths import RunFolder
from ard.doctor.advice import Advice
from ard.doctor.planned_run import PlannedRun
from ard.training.loggers import FallbackLogger, why_offline
from ard.training.room import checkpoint_size, checkpoints_to_come


def folder(run: PlannedRun) -> Iterator[Advice]:
    """The folder can be written and holds no other run."""
    place = run.directory
    if RunFolder(place).checkpoints and not run.resumes:
        message = f"{place} already holds a run: --resume auto continues it, --out DIR starts anew"
        yield Advice("folder", message, "error")
    elif not os.access(_existing(place), os.W_OK):
        yield Advice("folder", f"{place} cannot be written: --out DIR names another", "error")
    else:
        yield Advice("folder", f"{place} can be written")


def disk(run: PlannedRun) -> Iterator[Advice]:
    """There is space for the checkpoints of the run."""
    needed = checkpoints_to_come(run.directory) * checkpoint_size(run.engine)
    free = shutil.disk_usage(_existing(run.directory)).free
    message = f"{needed / 1e6:,.3g} MB for checkpoints, {free / 1e9:,.3g} GB are free"
    yield Advice("disk", message, "ok" if needed < free else "error")


def loggers(run: PlannedRun) -> Iterator[Advice]:
    """Whether each logger will work; a logger that fails does not stop the run."""
    if not run.loggers:
        yield Advice("logger", "metrics.csv")
    for logger in run.loggers:
        trouble = "silent" if not isinstance(logger, FallbackLogger) else logger.trouble
        if isinstance(logger, FallbackLogger) and isinstance(logger.logger, WandbLogger):
            reason = why_offline(logger.logger)
            trouble = f"wandb: {reason}: the run will be offline" if reason else None
        kind = logger.kind if isinstance(logger, FallbackLogger) else type(logger).__name__
        yield Advice("logger", trouble or f"{kind}, and metrics.csv", "warning" if trouble else "ok")


def _existing(place: Path) -> Path:
    """The folder itself, or the nearest above it that is there."""
    return next(folder for folder in (place.absolute(), *place.absolute().parents) if folder.is_dir())
