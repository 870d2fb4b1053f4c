"""Reading checkpoints: whole, of a run, and with the digest that was written beside them."""

import re
import zipfile
from pathlib import Path
from typing import Any

from torch import Tensor

from ard.artifacts.paths import digest_beside
from ard.artifacts.tensors import check_archive, read_plain
from ard.core.errors import UserError
from ard.core.files import existing, sha256, small_text

CHECKPOINT_PARTS = ("state_dict", "loops", "optimizer_states", "lr_schedulers", "global_step")


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint of a run, tensors still on disk; a damaged, foreign or hostile file is a UserError."""
    path = existing(path, "a checkpoint")
    check_digest(path)
    content = read_plain(path, kind="a checkpoint", mmap=True)
    lacking = next((part for part in CHECKPOINT_PARTS if not isinstance(content, dict) or part not in content), None)
    if lacking or not _is_whole(content):
        raise UserError(
            f"{path} ({path.stat().st_size} bytes) is no checkpoint of a run: it holds no {lacking or 'whole state'}; "
            "weights alone are for --init"
        )
    return dict(content)


def _is_whole(content: dict[str, Any]) -> bool:
    """Whether a checkpoint's progress and weights are of the kind that we write."""
    try:
        progress(content)
        return all(isinstance(value, Tensor) for value in content["state_dict"].values())
    except (AttributeError, LookupError, TypeError, ValueError):
        return False


def progress(content: dict[str, Any]) -> tuple[int, int]:
    """Optimiser steps and epochs that a checkpoint's run had done."""
    return int(content["global_step"]), int(content["loops"]["fit_loop"]["epoch_progress"]["total"]["processed"])


def stored_digest(path: Path) -> str:
    """The SHA-256 that was written beside a checkpoint; raises UserError for anything else there."""
    sidecar = digest_beside(path)
    try:
        digest = (small_text(sidecar, 1000).split() or [""])[0]
    except (OSError, ValueError):
        digest = ""
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise UserError(f"{sidecar} is damaged: expected the SHA-256 of {path.name}, 64 digits; delete it to do without")
    return digest


def check_beside(path: Path, actual: str) -> None:
    """Raises UserError where there is a SHA-256 beside a file, and another than that of its content."""
    if digest_beside(path).exists() and actual != (expected := stored_digest(path)):
        size = path.stat().st_size
        raise UserError(f"{path} ({size} bytes) is damaged: SHA-256 {actual[:12]}…, expected {expected[:12]}…")


def check_digest(path: Path) -> None:
    """Raises UserError where a file's SHA-256 is not the one beside it; without one, where its archive is not whole."""
    size = path.stat().st_size
    if digest_beside(path).exists():
        check_beside(path, sha256(path))
    elif zipfile.is_zipfile(path):
        check_archive(path, "a checkpoint")
        try:
            with zipfile.ZipFile(path) as archive:
                wrong = archive.testzip()
        except Exception as error:  # a damaged archive raises nearly anything
            wrong = str(error)
        if wrong:
            raise UserError(
                f"{path} ({size} bytes) is damaged: {wrong} is not what was written; expected a whole checkpoint"
            )
