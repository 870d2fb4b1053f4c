"""Room on disk for the checkpoints of a run."""

import errno
import os
import shutil
from pathlib import Path

from torch import nn

from ard.artifacts.paths import RunFolder
from ard.core.errors import UserError
from ard.core.files import discard

KEPT = 3  # last, previous, best
SLACK = 1 << 16  # of a checkpoint: everything that is no tensor


def checkpoint_size(model: nn.Module) -> int:
    """Bytes of a checkpoint: weights, buffers, momentum; twice that where another optimiser than SGD keeps two moments."""
    momentum = sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)
    momentum *= 1 if getattr(getattr(model, "training_block", None), "optimizer", None) is None else 2
    return SLACK + momentum + sum(getattr(value, "nbytes", 0) for value in model.state_dict().values())


def checkpoints_to_come(directory: Path) -> int:
    """How many need room: those that are kept, and the next last and the next best one, before others go."""
    return max(KEPT + 2 - len(RunFolder(directory).checkpoints), 2)


def check_room(directory: Path, model: nn.Module) -> None:
    """Raises UserError where the checkpoints to come do not fit."""
    size = checkpoint_size(model)
    files = [directory / f".room{number}.tmp" for number in range(checkpoints_to_come(directory))]
    try:
        for file in files:
            _reserve(file, size)
    except OSError as error:
        raise UserError(
            f"{directory}: no room for checkpoints ({error.strerror}): expected {len(files)} times {size / 1e6:.1f} MB"
        ) from error
    finally:
        for file in files:
            discard(file)


def _reserve(file: Path, size: int) -> None:
    """Really, not by asking how much is free: quotas and limits on files say no only then."""
    with open(file, "wb") as opened:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(opened.fileno(), 0, size)
        elif shutil.disk_usage(file.parent).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
