"""Writing checkpoints so that a killed run never loses the one it had."""

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import ModelCheckpoint

from ard.errors import UserError
from ard.files import write_whole
from ard.models.weights import sha256

LAST, BEST, PREVIOUS = "last", "best", "previous"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Temporary file in the same directory, fsync, replace, SHA-256 beside it; a digest that differs is an error.

    Lightning's own writer passes through $TMPDIR, and a kill between two filesystems leaves an empty checkpoint.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:  # noqa: ARG002
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        with open(temporary, "wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        digest = sha256(temporary)
        if path.stem == LAST and path.exists():
            _keep_as(path, path.with_stem(PREVIOUS))
        # The old digest goes first and the new one comes last: a kill in between leaves a checkpoint without a digest,
        # which loads, never one beside the wrong digest.
        _sidecar(path).unlink(missing_ok=True)
        os.replace(temporary, path)
        write_whole(_sidecar(path), f"{digest}  {path.name}\n")

    def load_checkpoint(self, path: Any, map_location: Any | None = None, weights_only: bool | None = True) -> Any:
        check_digest(Path(path))
        return super().load_checkpoint(path, map_location, weights_only=weights_only)

    def remove_checkpoint(self, path: Any) -> None:
        for file in (Path(path), _sidecar(Path(path))):
            file.unlink(missing_ok=True)


def check_digest(path: Path) -> None:
    """Raises UserError where the SHA-256 beside a checkpoint is not the file's."""
    sidecar = _sidecar(path)
    if not (path.is_file() and sidecar.is_file()):
        return
    expected, found = sidecar.read_text().split()[0], sha256(path)
    if found != expected:
        raise UserError(f"{path} ({path.stat().st_size} bytes) is damaged: SHA-256 {found[:12]}…, expected {expected[:12]}…")


def best_and_last(directory: str, monitor: str) -> list[ModelCheckpoint]:
    """Lightning's callbacks for best.ckpt (highest `monitor`) and last.ckpt, written after every epoch."""
    shared: dict[str, Any] = {"dirpath": directory, "enable_version_counter": False, "save_on_train_epoch_end": True}
    best = ModelCheckpoint(filename=BEST, monitor=monitor, mode="max", **shared)
    return [best, ModelCheckpoint(filename=LAST, **shared)]


def _keep_as(path: Path, kept: Path) -> None:
    """Give `path` a second name, so that there is no moment at which neither exists."""
    temporary = kept.with_name(f".{kept.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(path, temporary)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, temporary)
    _sidecar(kept).unlink(missing_ok=True)
    os.replace(temporary, kept)
    if _sidecar(path).is_file():
        write_whole(_sidecar(kept), f"{_sidecar(path).read_text().split()[0]}  {kept.name}\n")


def _sidecar(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
