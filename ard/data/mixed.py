"""Training images of a data set mixed with others: generated ones, or ones without labels."""

import math
import zipfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from ard.core.errors import UserError
from ard.core.files import open_regular
from ard.core.pixels import check_labels
from ard.core.user_paths import written_out
from ard.data.augmentation import Augmentation, PaddingMode
from ard.data.base import DataModule
from ard.data.loading import Batch, Images, Loader, Subset, own_count


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


class Mixed(DataModule):
    """`base`, of whose training batches a `fraction` comes from the .npz file `others`; validation and test are the base's.

    An epoch sees each image of the base once and as many of the others, drawn anew, as the fraction says. Images without
    labels need a method that asks for none, such as RSLAD or AdaAD.

    Args:
        base: The data set, whose batch size and split are used.
        others: An .npz file of more images, `image` (n, height, width, channels), and perhaps `label` (n,).
        fraction: The share of each batch that comes from there.
        padding_mode: As of the base, which says it where this does not; likewise the next three.
        rotation: By up to how many degrees images are turned at random, to either side.
        augmentation: crop_flip, idbh_weak or idbh_strong.
        cutmix: Share of the images that get a box of another one, whichever source it is of.
    """

    def __init__(
        self,
        *,
        base: DataModule,
        others: str,
        fraction: float = 0.5,
        padding_mode: PaddingMode | None = None,
        rotation: float | None = None,
        augmentation: Augmentation | None = None,
        cutmix: float | None = None,
        seed: int = 0,
    ) -> None:
        if base.additional:
            raise UserError("Mixed around a data set with additional images: expected one file of them all in `others`")
        if not 0 < fraction < 1:
            raise UserError(
                f"fraction = {fraction}: expected between 0 and 1, the share of each batch that is not the base's"
            )
        self.classes, self.input_shape, self.additional = base.classes, base.input_shape, True
        if own_count(base.batch_size, fraction) == base.batch_size:
            raise UserError(f"fraction = {fraction} of a batch of {base.batch_size} is no image; expected a larger one")
        switches = {"padding_mode": padding_mode, "rotation": rotation, "augmentation": augmentation, "cutmix": cutmix}
        told = {name: value for name, value in switches.items() if value is not None}
        self.as_base = not told.keys() - {"cutmix"}
        names = ("batch_size", "val_size", "crop_padding", "flip", "workers", *switches)
        settings = {name: getattr(base, name) for name in names}
        if base.augmentation not in get_args(Augmentation):  # of the base alone, such as Photos'
            settings["augmentation"] = "crop_flip"
            if not self.as_base:
                raise UserError(
                    f"{next(iter(told))}: {type(base).__name__} augments in its own way; expected to leave it out"
                )
        super().__init__(**settings | told, seed=seed, split_seed=base.split_seed)
        self.augmentation = augmentation or base.augmentation
        self.base, self.path, self.fraction = base, written_out(others), fraction
        self.fold = base.fold

    @property
    def title(self) -> str:
        return self.base.title

    @cached_property
    def others(self) -> NpzImages:
        """Opened when training starts: evaluation does not need them."""
        images = NpzImages(self.path)
        height, width, channels = images.pixels.shape[1:]
        if (channels, height, width) != tuple(self.input_shape):
            raise UserError(f"{self.path}: images of {(channels, height, width)}; expected {tuple(self.input_shape)}")
        try:
            check_labels(images.labels, self.num_classes, unlabelled=True)
        except UserError as error:
            raise UserError(f"{self.path}: {error}") from error
        return images

    @property
    def test_images_by(self) -> dict[str, Any]:
        return self.base.test_images_by

    @cached_property
    def splits(self) -> tuple[Subset, Subset]:
        """Those of the base."""
        return self.base.splits

    @property
    def training_labels(self) -> Tensor:
        return torch.cat([super().training_labels, self.others.labels])

    @property
    def class_counts(self) -> Sequence[float]:
        """Images of each class in an epoch: every one of the base's, and of the others as many as are drawn on average."""
        own = own_count(self.batch_size, self.fraction)
        drawn = len(self.splits[0]) * (self.batch_size - own) / own  # with or without a label
        labelled = self.others.labels[self.others.labels >= 0]
        shares = torch.bincount(labelled, minlength=self.num_classes) / len(self.others)
        return (torch.tensor(self.base.class_counts) + drawn * shares).tolist()

    @property
    def image_count(self) -> int:
        """Training images of both; the places of the others follow those of the base."""
        return super().image_count + len(self.others)

    @property
    def images_an_epoch(self) -> int:
        return len(self.splits[0]) * self.batch_size // own_count(self.batch_size, self.fraction)

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """As the base does, where this is not told otherwise."""
        return self.base.augment(x, generator) if self.as_base else super().augment(x, generator)

    def training_images(self) -> Images:
        return self.base.training_images()

    def test_images(self) -> Images:
        return self.base.test_images()

    def train_dataloader(self) -> Loader:
        return self._loader(self.splits[0], train=True, others=self.others, fraction=self.fraction)


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
