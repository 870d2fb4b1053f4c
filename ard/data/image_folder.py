"""Images in one folder a class: decoded once where they fit into memory, else batch by batch in DataLoader workers."""

import hashlib
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Literal

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from ard.core.class_folders import (
    ClassFolders,
    check_same_classes,
    check_spelling,
    class_folders,
    formats,
    is_split,
    not_an_image,
)
from ard.core.content_digests import ContentDigests
from ard.core.errors import UserError
from ard.core.files import open_regular
from ard.core.ranges import at_least
from ard.core.terminal import say
from ard.core.text import first_few, printable
from ard.core.user_paths import written_out
from ard.data.augmentation import Augmentation, PaddingMode
from ard.data.base import DataModule
from ard.data.image_files import ImageFiles
from ard.data.loading import Batch, Images, MemoryImages

LARGEST = Image.MAX_IMAGE_PIXELS or 2**26  # pixels of an image; Pillow only warns of more
LARGE = 2**22  # pixels of an image of which a process decodes one at a time
_one_large = Lock()
ORIENTATION, TURN = ExifTags.Base.Orientation, Image.Transpose
TURNS = {
    2: TURN.FLIP_LEFT_RIGHT,
    3: TURN.ROTATE_180,
    4: TURN.FLIP_TOP_BOTTOM,
    5: TURN.TRANSPOSE,
    6: TURN.ROTATE_270,
    7: TURN.TRANSVERSE,
    8: TURN.ROTATE_90,
}
TWELVE_BITS = 2**12
DARK = (
    "images of 16 bits whose values are all below 4096, as of cameras with 12: read as 16 bits they are nearly black; write "
    "their values times 16"
)
DECODED_AT_ONCE = 32  # images a thread decodes at a time: for small ones the hand-over costs more than the decoding


class ImageFolder(DataModule):
    """root/train/<class>/* and root/test/<class>/*; classes are the sorted folder names of train, hidden ones ignored.

    Images become grey or RGB, upright, on white where transparent, and size×size: bilinear with antialiasing to a
    shorter side of `size`, then the centre.
    Raises UserError for missing, empty or differing folders, and for a file that is not an image when it is read.

    Args:
        root: The folder that holds train/ and test/.
        size: The side of the images in pixels; larger and smaller ones are resized, and cropped to a square.
        grey: Whether images become grey, of one channel.
        workers: Processes that decode a split that is too large to be held, or change images by idbh_weak or idbh_strong.
        memory_limit_mb: A split below that size is decoded once and held by each process.
        name: What tables call the images; by default their folder's name.
    """

    def __init__(
        self,
        *,
        root: str,
        size: int,
        grey: bool = False,
        batch_size: int = 128,
        val_size: int = 1000,
        crop_padding: int = 4,
        flip: bool = True,
        padding_mode: PaddingMode = "zeros",
        rotation: float = 0.0,
        augmentation: Augmentation = "crop_flip",
        cutmix: float = 0.0,
        workers: int = 2,
        memory_limit_mb: int = 2000,
        name: str | None = None,
        seed: int = 0,
        split_seed: int = 0,
    ) -> None:
        check_side(size, size, name="size")
        at_least(0, memory_limit_mb=memory_limit_mb, workers=workers)
        self.root, self.memory_limit_mb = Path(written_out(root)), memory_limit_mb
        self.label, self.digests = name or self.root.name, ContentDigests()
        self.input_shape = (1 if grey else 3, size, size)
        self._find_files()
        super().__init__(
            batch_size=batch_size,
            val_size=val_size,
            crop_padding=crop_padding,
            flip=flip,
            padding_mode=padding_mode,
            rotation=rotation,
            augmentation=augmentation,
            cutmix=cutmix,
            workers=0 if augmentation == "crop_flip" and self._fits_memory(self.train_files) else workers,
            seed=seed,
            split_seed=split_seed,
        )

    def _find_files(self) -> None:
        check_spelling(self.root)
        self.folders = self._folders("train")
        self.train_files = self.folders.files
        self.classes = tuple(self.train_files)
        if self._has_test:  # nobody wants to hear of it when the training is over
            self._test_files()

    @property
    def title(self) -> str:
        return self.label

    @cached_property
    def image_files(self) -> ImageFiles:  # type: ignore[override]
        """All of them; without a test folder none is for test."""
        test = self._test_files() if self._has_test else {}
        return ImageFiles(self.root, self._in_order(self.train_files), self._in_order(test), self.digests)

    @property
    def _has_test(self) -> bool:
        return (self.root / "test").is_dir()

    def training_images(self) -> Images:
        self.folders.tell(self.root)
        if is_split(self.root):
            self._tell_of_the_split()
        return self._open(self.train_files)

    def test_images(self) -> Images:
        return self._open(self._test_files())

    def _tell_of_the_split(self) -> None:
        if not self._has_test:
            say(printable(f"{self.root} has no test/: evaluation wants one, or other images with --data"))
        if (self.root / "val").is_dir():
            say(printable(f"{self.root}/val is not read: the images of validation are taken from train/"))
        if both := self.image_files.tested({*(self.image_files.learned or ())}):
            count = f"{len(both)} of the {len(self.image_files.test)} test images are among the training images, too"
            say(printable(f"{self.root}: {count} ({first_few(both, 3)}): delete one of each"))

    def _folders(self, split: Literal["train", "test"]) -> ClassFolders:
        return class_folders(self.root / split, at_least=2 if split == "train" else 1)  # 2: one to train, one to validate on

    def _test_files(self) -> dict[str, list[str]]:
        files = self._folders("test").files
        check_same_classes(self.root, self.classes, list(files))
        return files

    def _in_order(self, files: dict[str, list[str]]) -> list[str]:
        return [path for name in self.classes for path in files.get(name, ())]

    def _open(self, files: dict[str, list[str]]) -> Images:
        paths = self._in_order(files)
        counts = torch.tensor([len(files[name]) for name in self.classes])
        labels = torch.arange(self.num_classes).repeat_interleave(counts)
        images = DiskImages(paths, labels, self.input_shape)
        return images.in_memory() if self._fits_memory(files) else images

    def _fits_memory(self, files: dict[str, list[str]]) -> bool:
        n, (channels, height, width) = sum(map(len, files.values())), self.input_shape
        return n * channels * height * width < self.memory_limit_mb * 1e6


@dataclass(frozen=True)
class DiskImages:
    """Image files and labels (n,), decoded to uint8 (C, H, W) = `shape` whenever they are fetched."""

    paths: list[str]
    labels: Tensor
    shape: tuple[int, int, int]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitems__(self, indices: list[int]) -> Batch:
        return torch.stack([decode(self.paths[i], self.shape) for i in indices]), self.labels[indices]

    def fingerprint(self) -> str:
        """Of names, sizes and times: nobody reads a large folder for it."""
        root, digest = os.path.commonpath(self.paths), hashlib.sha256()
        for path in self.paths:
            try:
                found = os.stat(path)
            except OSError as error:
                raise UserError(f"{path}: not a readable image ({error.strerror}); replace or delete it") from error
            digest.update(os.fsencode(f"{path[len(root) :]}\0{found.st_size} {found.st_mtime_ns}\0"))
        return digest.hexdigest()

    def in_memory(self) -> MemoryImages:
        """All images, decoded now."""
        pixels = torch.empty(len(self), *self.shape, dtype=torch.uint8)

        def fill(indices: range) -> None:
            pixels[indices.start : indices.stop] = self.__getitems__(list(indices))[0]

        blocks = [range(len(self))[i : i + DECODED_AT_ONCE] for i in range(0, len(self), DECODED_AT_ONCE)]
        with ThreadPoolExecutor() as pool:  # threads do: Pillow decodes and resizes without holding the interpreter
            list(pool.map(fill, blocks))
        return MemoryImages(pixels, self.labels)


def check_side(height: int, width: int, *, name: str) -> None:
    """Raises UserError for images of no pixel, and of more than one that is read may have."""
    if min(height, width) < 1 or height * width > LARGEST:
        raise UserError(f"{name} = {height} × {width} pixels: expected at least 1 a side, and at most {LARGEST:,} together")


def decode(path: str, shape: tuple[int, int, int]) -> Tensor:
    """The image as uint8 (C, H, W) = `shape`; raises UserError for a file that is not a whole image."""
    channels, *size = shape
    try:
        with open_regular(path) as content, Image.open(content, formats=formats()) as file:
            count = file.width * file.height
            if count > LARGEST:
                raise ValueError(f"decompression bomb: {file.width} × {file.height} pixels, expected at most {LARGEST:,}")
            with _one_large if count > LARGE else nullcontext():
                image = _plain(_upright(file)).convert("L" if channels == 1 else "RGB")
                if image.size != (size[1], size[0]):  # Pillow says the width first
                    image = ImageOps.fit(image, (size[1], size[0]), Image.Resampling.BILINEAR)
    except UnidentifiedImageError as error:
        raise UserError(f"{path}: {not_an_image(path)}; replace or delete it") from error
    except Exception as error:  # on a damaged file Pillow's decoders raise nearly anything, even SyntaxError
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{path}: not a readable image ({reason}); replace or delete it") from error
    return torch.from_numpy(np.array(image)).view(*size, channels).permute(2, 0, 1)


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its camera was held. Pillow's own function also writes the other entries again, and fails at odd ones."""
    image.load()  # here, where a damaged image is an error
    try:
        return image.transpose(TURNS[image.getexif()[ORIENTATION]])
    except Exception:  # no such entry, or one that nobody can read: the pixels are what counts
        return image


def _plain(image: Image.Image) -> Image.Image:
    """Eight bits a channel and no transparency, which Pillow's own conversion would clip and drop."""
    if image.mode.startswith("I;16"):
        levels = np.asarray(image)
        if 0 < levels.max() < TWELVE_BITS:
            warnings.warn(DARK, stacklevel=1)
        return Image.fromarray((levels >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("32 bits a pixel, expected 8 or 16 a channel")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image
