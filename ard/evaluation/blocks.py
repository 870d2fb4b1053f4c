"""Blocks on disk: an interrupted evaluation continues, and several processes share one evaluation."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ard.artifacts.tensors import digest_of_tensors
from ard.artifacts.typed_json import parsed
from ard.core.errors import UserError
from ard.core.files import discard, no_link, or_user_error, readable, write_whole
from ard.evaluation.cascade import Block

try:
    import fcntl
except ImportError:  # Windows: no processes to share with
    fcntl = None  # type: ignore[assignment]


class Store:
    """A folder of blocks, each file whole or absent; every evaluation has a folder of its own name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self) -> None:
        """Make the folder; raises UserError where nothing can be written."""
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            place = self.folder.parent
            raise UserError(f"{place}: cannot be written to ({error.strerror}); the record belongs there") from error

    def write(self, block: Block) -> None:
        """Replace the file of this block; make the folder again where another process has finished and deleted it."""
        kept = {"x_adv": block.x_adv, "moved": block.moved}
        tensors = {name: value.contiguous().cpu() for name, value in kept.items() if value is not None}
        tensors |= {f"correct.{name}": bits.cpu() for name, bits in block.correct.items()}
        about = {"start": block.start, "facts": block.facts, "order": list(block.correct), "whole": block.whole}
        text = json.dumps(about)
        data = save(tensors, {"block": text, "digest": digest_of_tensors(tensors, text)})
        for attempt in range(3):
            self.open()
            try:
                write_whole(self._path(block.start), data)
                return
            except UserError as error:
                if attempt == 2 or not isinstance(error.__cause__, FileNotFoundError):
                    raise

    def read(self, start: int) -> Block:
        """The block as it was last written; an empty one where there is none, or its digest does not match."""
        try:
            with readable(path := self._path(start)), safe_open(path, "pt") as file:
                metadata = file.metadata()
                about = parsed(metadata["block"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if about["start"] != start or metadata["digest"] != digest_of_tensors(tensors, metadata["block"]):
                return Block(start)
            correct = {name: tensors[f"correct.{name}"] for name in about["order"]}
            return Block(start, correct, about["facts"], tensors["moved"], tensors["x_adv"], about["whole"] is True)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError):
            return Block(start)

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Let one process at a time write the record; yields whether the record is still to be written."""
        lock = self.folder.with_suffix(".lock")
        with or_user_error(lock):
            file = open(lock, "a+b", opener=no_link)  # noqa: SIM115  # which does not wait where a pipe lies there
        try:
            with file:
                if fcntl is not None:
                    fcntl.flock(file, fcntl.LOCK_EX)  # released with the process, however it ends
                yield self.folder.is_dir()
        finally:
            if not self.folder.is_dir():
                discard(lock)

    def remove(self) -> None:
        """Delete the blocks, once the record is written, and the lock that went with them."""
        shutil.rmtree(self.folder, ignore_errors=True)
        discard(self.folder.with_suffix(".lock"))

    def _path(self, start: int) -> Path:
        return self.folder / f"block-{start:08d}.safetensors"
