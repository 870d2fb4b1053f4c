"""What every data module does: split, load, augment; images are uint8 in memory and float in [0, 1] on the device."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property

import pytorch_lightning as pl
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from ard.data.augmentation import random_crop, random_flip
from ard.data.loading import Batch, Images, Loader, Subset
from ard.errors import UserError


class DataModule(pl.LightningDataModule, ABC):
    """Training images with a stratified validation split of their own; the test split is opened by evaluation alone.

    `batch_size` is the global one, divided by the number of processes; `seed` shuffles, `split_seed` splits (one for a
    whole study, so that no teacher has seen a validation image).
    """

    classes: Sequence[str]
    input_shape: tuple[int, int, int]

    def __init__(
        self, *, batch_size: int, val_size: int, crop_padding: int, flip: bool, workers: int, seed: int, split_seed: int
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise UserError(f"batch_size = {batch_size}: expected at least 1")
        self.batch_size, self.val_size, self.workers = batch_size, val_size, workers
        self.crop_padding, self.flip = crop_padding, flip
        self.seed, self.split_seed = seed, split_seed

    @abstractmethod
    def training_images(self) -> Images:
        """All images that may be used in training, validation split included."""

    @abstractmethod
    def test_images(self) -> Images:
        """The test split; nothing in training calls this."""

    @property
    def title(self) -> str:
        """What tables and pictures call these images."""
        return type(self).__name__

    @property
    def num_classes(self) -> int:
        """How many classes the labels distinguish."""
        return len(self.classes)

    @property
    def class_counts(self) -> list[int]:
        """Training images of each class."""
        return torch.bincount(self.splits[0].labels, minlength=self.num_classes).tolist()

    @cached_property
    def splits(self) -> tuple[Images, Images]:
        """Training and validation images."""
        images = self.training_images()
        most = len(images) - self.num_classes
        if not self.num_classes <= self.val_size <= most:
            raise UserError(f"val_size = {self.val_size}: expected {self.num_classes} (one a class) to {most} images")
        train, val = train_test_split(
            torch.arange(len(images)).numpy(),
            test_size=self.val_size,
            stratify=images.labels.numpy(),
            random_state=self.split_seed,
        )
        return Subset(images, torch.as_tensor(train)), Subset(images, torch.as_tensor(val))

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Random crop and flip, a draw per image, on the batch's device."""
        if self.crop_padding:
            x = random_crop(x, self.crop_padding, generator)
        return random_flip(x, generator) if self.flip else x

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:  # noqa: ARG002
        return to_pixels(batch[0]), batch[1]

    def train_dataloader(self) -> Loader:
        return self._loader(self.splits[0], train=True)

    def val_dataloader(self) -> Loader:
        return self._loader(self.splits[1], train=False)

    def _loader(self, images: Images, *, train: bool) -> Loader:
        trainer = self.trainer
        world_size = trainer.world_size if trainer else 1
        if self.batch_size % world_size:
            raise UserError(
                f"batch_size = {self.batch_size} is the global one: expected a multiple of {world_size} processes"
            )
        if train and len(images) < self.batch_size:
            raise UserError(f"batch_size = {self.batch_size}: expected at most the {len(images)} training images")
        return Loader(
            images,
            batch_size=self.batch_size,
            epoch=(lambda: trainer.current_epoch if trainer else 0) if train else None,
            seed=self.seed,
            rank=trainer.global_rank if trainer else 0,
            world_size=world_size,
            workers=self.workers,
        )


def to_pixels(images: Tensor) -> Tensor:
    """uint8 -> float32 in [0, 1]; floats pass, for data modules that hold pixels already."""
    pixels = images.float() / 255 if images.dtype == torch.uint8 else images
    return pixels.contiguous(memory_format=torch.channels_last)
