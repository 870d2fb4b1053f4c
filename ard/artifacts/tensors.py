"""Reading files of tensors that may be damaged, foreign or hostile: nothing in them is imported or run."""

import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from ard.core.errors import UserError
from ard.core.text import first_line


def read_plain(path: Path, *, kind: str = "a plain file of weights", mmap: bool = False) -> Any:
    """What torch wrote to `path`: tensors and plain values, or a UserError that names what else it wants to import.

    With `mmap` the tensors stay on disk until they are used.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # the message of torch about a damaged file is longer than one line
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap and zipfile.is_zipfile(path))
    except Exception as error:  # damaged and hostile files raise nearly anything
        size = path.stat().st_size
        raise UserError(f"{path}: refused, not {kind} ({_refusal(error)}, {size} bytes); nothing in it ran") from error


def _refusal(error: Exception) -> str:
    """The foreign name where there is one: torch's own message advises to load unsafely."""
    name = re.search(r"GLOBAL ([\w.]+)", str(error))
    if name:
        return f"it asks for {name[1]}"
    return "not a pickle of tensors" if "weights_only" in str(error) else f"{type(error).__name__}: {first_line(error)}"
