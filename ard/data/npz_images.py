"""Images in an .npz file, read as they are asked for."""

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ard.core.errors import UserError
from ard.core.files import open_regular
from ard.data.loading import Batch


class NpzImages:
    """uint8 images `image`, (n, H, W, C), and perhaps labels `label`, (n,), of an .npz file; read as they are asked for.

    An example without a label has the label −1. Raises UserError for a file that is missing, damaged (by the checksums it
    holds), compressed, or something else.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.pixels, labels = _member(path, "image"), _member(path, "label", needed=False)
        if self.pixels.ndim != 4 or self.pixels.dtype != np.uint8 or not len(self.pixels):
            content = f"{self.pixels.dtype} {self.pixels.shape}"
            raise UserError(f"{path}: {content}; expected uint8 images (n, height, width, channels) and n labels")
        if labels is None:
            labels = np.full(len(self.pixels), -1)
        if labels.shape != self.pixels.shape[:1] or labels.dtype.kind not in "iu":
            content = f"labels {labels.dtype} {labels.shape} of {len(self.pixels)} images"
            raise UserError(f"{path}: {content}; expected a whole number for each")
        self.labels = torch.from_numpy(labels.astype(np.int64))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: list[int]) -> Batch:
        pixels = np.stack([self.pixels[index] for index in indices])
        return torch.from_numpy(pixels).permute(0, 3, 1, 2), self.labels[indices]


def _member(path: str, name: str, *, needed: bool = True) -> Any:
    """An array inside an uncompressed .npz as a memory map: a million images need not fit into memory."""
    if not Path(path).is_file():
        raise UserError(
            f"{path}: no such file; expected an .npz with `image` (n, height, width, channels) and perhaps `label`"
        )
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            if not needed and f"{name}.npy" not in archive.namelist():
                return None
            return _mapped(path, archive, archive.getinfo(f"{name}.npy"))
    except UserError:
        raise
    except Exception as error:  # on a damaged file zipfile and numpy raise nearly anything
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{path}: {reason}; expected an .npz with uint8 images `image`") from error


def _mapped(path: str, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Any:
    if entry.compress_type != zipfile.ZIP_STORED:
        raise UserError(f"{path} is compressed: expected one written by numpy.savez")
    with archive.open(entry) as member:
        version = np.lib.format.read_magic(member)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, fortran, dtype = read_header[version](member)
        header = member.tell()
        while member.read(1 << 20):  # to the end, where the checksum is compared
            pass
    if dtype.hasobject or fortran:
        kind = f"{dtype}{', column-major' if fortran else ''}"
        raise UserError(f"{path}: `{Path(entry.filename).stem}` is {kind}; expected plain numbers")
    with open(path, "rb") as file:
        file.seek(entry.header_offset + 26)
        lengths = np.frombuffer(file.read(4), "<u2")
    start = entry.header_offset + 30 + int(lengths.sum()) + header
    if (
        start - header + entry.file_size > Path(path).stat().st_size
        or header + dtype.itemsize * math.prod(shape) > entry.file_size
    ):
        raise UserError(f"{path}: `{Path(entry.filename).stem}` says that it is {shape}, which is more than the file holds")
    return np.memmap(path, dtype=dtype, mode="r", offset=start, shape=shape)
