"""Blocks on disk: an evaluation that was killed goes on, and several processes share one."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ard.errors import UserError
from ard.evaluation.cascade import Block
from ard.files import write_whole

try:
    import fcntl
except ImportError:  # Windows: no processes to share with
    fcntl = None  # type: ignore[assignment]


class Store:
    """A folder of blocks, each file whole or absent; the folder's name tells one evaluation from another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder.parent}: cannot be written to ({error.strerror}); the record belongs there") from error

    def write(self, block: Block) -> None:
        """Replace the file of this block; the folder is gone where another process has finished meanwhile."""
        self.folder.mkdir(exist_ok=True)
        tensors = {f"correct.{name}": bits.cpu() for name, bits in block.correct.items()}
        tensors |= {
            name: value.contiguous().cpu() for name in ("x_adv", "moved") if (value := getattr(block, name)) is not None
        }
        facts = json.dumps({"facts": block.facts, "order": list(block.correct), "whole": block.whole})
        write_whole(self._path(block.start), save(tensors, {"block": facts}))

    def read(self, start: int) -> Block:
        """The block as it was last written, or an empty one."""
        try:
            with safe_open(self._path(start), "pt") as file:
                told = json.loads(file.metadata()["block"])
                correct = {name: file.get_tensor(f"correct.{name}") for name in told["order"]}
                return Block(
                    start, correct, told["facts"], file.get_tensor("moved"), file.get_tensor("x_adv"), told["whole"]
                )
        except (OSError, SafetensorError, ValueError, KeyError, TypeError):
            return Block(start)

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """One process at a time finishes; yields whether there is still something to finish."""
        lock = self.folder.with_suffix(".lock")
        with open(lock, "w") as file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)  # released with the process, however it ends
            yield self.folder.is_dir()

    def remove(self) -> None:
        """The record is written; nobody needs the blocks."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.with_suffix(".lock").unlink(missing_ok=True)

    def _path(self, start: int) -> Path:
        return self.folder / f"block-{start:08d}.safetensors"
