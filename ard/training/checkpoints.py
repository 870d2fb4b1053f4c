"""Writing checkpoints so that a killed run never loses the one it had."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Any, BinaryIO

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from ard.artifacts.checkpoint import check_beside, check_digest, read_checkpoint, stored_digest
from ard.artifacts.facts import NO_EPOCH
from ard.artifacts.paths import BEST, LAST, PREVIOUS, digest_beside
from ard.artifacts.tensors import read_plain
from ard.core.errors import UserError
from ard.core.files import discard, existing, or_user_error, sha256, write_whole
from ard.training.selection import is_above_chance


class AtomicCheckpointIO(TorchCheckpointIO):
    """Temporary file in the same directory, fsync, read back, replace, SHA-256 beside it; any failure is a UserError.

    Lightning's own writer passes through $TMPDIR, and a kill between two filesystems leaves an empty checkpoint.
    """

    def __init__(self) -> None:
        super().__init__()
        self._written: dict[tuple[int, ...], str] = {}  # digests of the newest files that were read back whole
        self._same_as = ""  # the file that already holds what is saved

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:  # noqa: ARG002
        path, source = Path(path), self._same_as
        if source and self._share(Path(source), path):
            return
        temporary = path.with_name(f".{path.name}.tmp")
        with or_user_error(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                digest = _write(checkpoint, temporary)
                if sha256(temporary) != digest:
                    raise UserError(f"{path}: the disk returned other bytes than were written; the earlier file is kept")
                self._put(temporary, path, digest)
            finally:
                discard(temporary)

    @contextmanager
    def saving_the_same_as(self, path: str) -> Iterator[None]:
        """A block that saves what this process has just saved to `path`; an empty path stands for nothing."""
        self._same_as = path
        try:
            yield
        finally:
            self._same_as = ""

    def _share(self, source: Path, path: Path) -> bool:
        """Give a checkpoint that this process wrote, `source`, the name `path`, too; False where that cannot be done."""
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            discard(temporary)
            os.link(source, temporary)
        except OSError:  # a file system without hard links
            return False
        try:
            digest = self._written.get(_identity(temporary))
            if digest is None:
                return False
            with or_user_error(path):
                self._put(temporary, path, digest)
            return True
        finally:
            discard(temporary)

    def _put(self, temporary: Path, path: Path, digest: str) -> None:
        """Move a whole checkpoint to its place; the one before is kept where it is the last."""
        if path.stem == LAST and self._is_sound(path):
            _keep_as(path, path.with_stem(PREVIOUS))
        # The old digest goes first and the new one comes last: a kill in between leaves a checkpoint without a
        # digest, which loads, never one beside the wrong digest.
        digest_beside(path).unlink(missing_ok=True)
        os.replace(temporary, path)
        write_whole(digest_beside(path), f"{digest}  {path.name}\n")
        self._written = {**dict(list(self._written.items())[-3:]), _identity(path): digest}

    def _is_sound(self, path: Path) -> bool:
        """Whether a checkpoint that is about to be kept as the one before is worth that."""
        try:
            known = self._written.get(_identity(existing(path, "a checkpoint")))
            check_beside(path, known or sha256(path))
        except (UserError, OSError):
            return False
        return True

    def load_checkpoint(self, path: Any, map_location: Any | None = None, weights_only: bool | None = True) -> Any:  # noqa: ARG002
        check_digest(existing(path, "a checkpoint"))
        return read_plain(Path(path), kind="a checkpoint")  # safely, also where Lightning would not

    def remove_checkpoint(self, path: Any) -> None:
        for file in (Path(path), digest_beside(Path(path))):
            file.unlink(missing_ok=True)


class Kept(ModelCheckpoint):
    """Lightning's callback, which also knows its files again after the run's folder was moved, and no other file.

    What `twin` has just saved is not written again: it gets a second name. Of a metric only epochs above chance are
    compared; until there is one, the newest takes the place of the best.
    """

    def __init__(self, *, twin: "Kept | None" = None, **options: Any) -> None:
        super().__init__(**options)
        self.twin, self._saved = twin, ""
        self.is_above_chance = False  # the best epoch that is kept

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        if self._saved and not trainer.global_step:  # a run that goes on has steps by now
            raise UserError(f"{self.dirpath}: these callbacks keep the epochs of another run there; expected new ones")
        if self.monitor is not None:
            _check_validated(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._saved = ""  # at the end of this epoch
        super().on_train_epoch_end(trainer, pl_module)

    def _save_checkpoint(self, trainer: pl.Trainer, filepath: str) -> None:
        writer = trainer.strategy.checkpoint_io
        if self.twin is None or not isinstance(writer, AtomicCheckpointIO):
            super()._save_checkpoint(trainer, filepath)
        else:
            with writer.saving_the_same_as(self.twin._saved):
                super()._save_checkpoint(trainer, filepath)
        self._saved = filepath

    def check_monitor_top_k(self, trainer: pl.Trainer, current: Tensor | None = None) -> bool:
        is_above = is_above_chance(trainer)
        if current is None or (is_above and self.is_above_chance):
            return super().check_monitor_top_k(trainer, current)
        return is_above or not self.is_above_chance

    def _update_best_and_save(self, current: Tensor, trainer: pl.Trainer, monitor_candidates: dict[str, Tensor]) -> None:
        self.is_above_chance = is_above_chance(trainer)
        super()._update_best_and_save(current, trainer, monitor_candidates)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "is_above_chance": self.is_above_chance}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        there, here = str(state_dict["dirpath"]), str(self.dirpath)
        file = Path(here, Path(state_dict["best_model_path"]).name)
        if self.monitor is not None and not self._is_ours(file, state_dict):
            nothing = dict.fromkeys(("best_model_score", "kth_value", "current_score"))
            state_dict = {**state_dict, **nothing, "dirpath": here, "best_k_models": {}}
            state_dict |= {"best_model_path": "", "kth_best_model_path": "", "is_above_chance": False}
        elif file.is_file():
            paths = {key: value.replace(there, here, 1) for key, value in state_dict.items() if isinstance(value, str)}
            scores = {path.replace(there, here, 1): score for path, score in state_dict["best_k_models"].items()}
            state_dict = {**state_dict, **paths, "best_k_models": scores}
        super().load_state_dict(state_dict)
        self.is_above_chance = state_dict["is_above_chance"]

    def _is_ours(self, file: Path, state_dict: dict[str, Any]) -> bool:
        """Whether a file is the best checkpoint that this state knows: whole, and with that score."""
        try:
            return read_checkpoint(file)["callbacks"][self.state_key]["best_model_score"] == state_dict["best_model_score"]
        except (UserError, LookupError, TypeError):
            return False


def _identity(path: Path) -> tuple[int, ...]:
    """What tells a file from one that took its name, and from what it was before somebody wrote to it."""
    about = path.stat()
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns


def sign(path: Path) -> None:
    """Put the digest beside a whole checkpoint whose writer was killed before it did."""
    if not digest_beside(path).exists():
        write_whole(digest_beside(path), f"{sha256(path)}  {path.name}\n")


def best_and_last(directory: str, monitor: str) -> list[ModelCheckpoint]:
    """Lightning's callbacks, after every epoch: best.ckpt (highest `monitor` of those above chance) and last.ckpt."""
    shared: dict[str, Any] = {"dirpath": directory, "enable_version_counter": False, "save_on_train_epoch_end": True}
    best = Kept(filename=BEST, monitor=monitor, mode="max", **shared)
    last = Kept(filename=LAST, twin=best, **shared)
    # so that best.ckpt knows it from the start
    last.best_model_path = str(Path(str(last.dirpath), f"{LAST}{last.FILE_EXTENSION}"))
    return [best, last]


def _check_validated(trainer: pl.Trainer) -> None:
    """Raises UserError where an epoch ends some steps after its last validation, whose score its weights would be given."""
    batches, interval = trainer.num_training_batches, trainer.val_check_batch
    if interval is None or (interval < inf and batches % interval and interval % batches):
        said = "a time" if interval is None else trainer.val_check_interval
        raise UserError(
            f"val_check_interval = {said}: best.ckpt is of a whole epoch, here of {batches} batches, and "
            "would have the score of an earlier step; expected 1.0"
        )


def selected_by(trainer: pl.Trainer) -> str:
    """The metric that has selected best.ckpt, or that nothing has, since no epoch is above chance."""
    best = next(one for one in trainer.callbacks if isinstance(one, Kept) and one.monitor)  # type: ignore[attr-defined]
    return str(best.monitor) if best.is_above_chance else NO_EPOCH


class _Digesting:
    """A file for torch to write to, and the digest of what it wrote."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def _write(checkpoint: dict[str, Any], path: Path) -> str:
    with open(path, "wb") as file:
        digesting = _Digesting(file)
        torch.save(checkpoint, digesting)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):  # so that it is the disk that gives it back
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return digesting.digest.hexdigest()


def _keep_as(path: Path, kept: Path) -> None:
    """Give `path` a second name, so that there is no moment at which neither exists."""
    temporary = kept.with_name(f".{kept.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(path, temporary)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, temporary)
    digest_beside(kept).unlink(missing_ok=True)
    os.replace(temporary, kept)
    discard(temporary)  # it stays where both are names of one file, as after a kill right behind this line
    if digest_beside(path).is_file():
        write_whole(digest_beside(kept), f"{stored_digest(path)}  {kept.name}\n")
