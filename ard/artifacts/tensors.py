"""Reading files of tensors that may be damaged, foreign or hostile: nothing in them is imported, run or unpacked."""

import hashlib
import io
import os
import re
import warnings
import zipfile
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from ard.core.errors import UserError
from ard.core.files import readable
from ard.core.text import first_line
from ard.core.trees import check_size

LARGEST_FILE = 8 * 2**30  # bytes of a file of weights: it is held in memory twice while it is read
ZEROS = b"\nbytearray\n"  # which torch lets a pickle call, with as many as it likes
PLAIN: list[Any] = [Namespace]  # the options in checkpoints of timm and torchvision: names and values, no code


def read_bytes(path: Path) -> bytes:
    """The content of a file of weights, read once, so that what is hashed is what is used."""
    with readable(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > LARGEST_FILE:
            raise UserError(f"{path}: {size} bytes; expected weights of a classifier, at most {LARGEST_FILE}")
        return file.read(size)


def plain_from(content: bytes, path: Path) -> Any:
    """What torch wrote: tensors and plain values, or a UserError that names what else it wants to import."""
    return _loaded(io.BytesIO(content), path, "a plain file of weights", len(content), mmap=False)


def read_plain(path: Path, *, kind: str, mmap: bool = False) -> Any:
    """The same of a file that is not held in memory; with `mmap` its tensors stay on disk until they are used."""
    with readable(path) as file:
        return _loaded(file, path, kind, path.stat().st_size, mmap=mmap and zipfile.is_zipfile(path))


def check_archive(path: Path, kind: str) -> None:
    """Raises UserError for an archive that would grow when it is read, before anything in it is."""
    with readable(path) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            _check_entries(file, size)
        except Exception as error:  # a damaged archive raises nearly anything
            raise _refused(path, kind, error, size) from error


def digest_of_tensors(tensors: Mapping[str, Tensor], text: str) -> str:
    """SHA-256 over names, kinds, shapes and numbers, and over the text that describes them."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _loaded(file: BinaryIO, path: Path, kind: str, size: int, *, mmap: bool) -> Any:
    try:
        _check_entries(file, size)
        _check_pickle(file)
        # the message of torch about a damaged file is longer than one line
        with warnings.catch_warnings(action="ignore"), torch.serialization.safe_globals(PLAIN):
            content = torch.load(path if mmap else file, map_location="cpu", weights_only=True, mmap=mmap)
        check_size(content)
        return content
    except Exception as error:  # damaged and hostile files raise nearly anything
        raise _refused(path, kind, error, size) from error


def _check_entries(file: BinaryIO, size: int) -> None:
    """Raises ValueError for an archive that would grow when it is read: torch packs nothing, and maps what lies there."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size for entry in entries):
            raise ValueError("compressed; torch.save writes its archives uncompressed")
        if sum(entry.file_size for entry in entries) > size:
            raise ValueError("its entries are larger than the file")
    file.seek(0)


def _check_pickle(file: BinaryIO) -> None:
    """Raises ValueError for a pickle that makes zeros, which a few bytes can ask for until no memory is left."""
    file.seek(0)
    packed = file.read(4) == b"PK\x03\x04"  # torch looks at the beginning, zipfile at the end
    if packed != zipfile.is_zipfile(file):
        raise ValueError("an archive at one end alone")
    if packed:
        with zipfile.ZipFile(file) as archive:
            pickles = [archive.read(entry) for entry in archive.infolist() if entry.filename.lower().endswith("data.pkl")]
    else:
        file.seek(0)
        pickles = [file.read()]
    if any(ZEROS in content for content in pickles):
        raise ValueError("GLOBAL builtins.bytearray")
    file.seek(0)


def _refused(path: Path, kind: str, error: Exception, size: int) -> UserError:
    return UserError(f"{path}: refused, not {kind} ({_refusal(error)}, {size} bytes); nothing in it ran")


def _refusal(error: Exception) -> str:
    """The foreign name where there is one: torch's own message advises to load unsafely."""
    name = re.search(r"GLOBAL ([\w.]+)", str(error))
    if name:
        return f"it asks for {name[1]}"
    return "not a pickle of tensors" if "weights_only" in str(error) else f"{type(error).__name__}: {first_line(error)}"
