"""What every data module does: split, load, augment; images are uint8 in memory and float in [0, 1] on the device."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from ard.core.errors import UserError
from ard.core.pixels import check_labels
from ard.core.ranges import at_least, one_of
from ard.data.augmentation import (
    Augmentation,
    PaddingMode,
    crop_offsets,
    flips,
    random_crop,
    random_flip,
    random_rotation,
)
from ard.data.cutmix import cutmix
from ard.data.idbh import ERASED, Redrawn, check_shape
from ard.data.image_files import ImageFiles
from ard.data.loading import Batch, Images, Loader, MemoryImages, Mixture, Subset
from ard.data.splitting import stratified_split

IMAGES_SHARE = 0.25  # of a GPU's free memory, at most, for the images


class DataModule(pl.LightningDataModule, ABC):
    """Training images with a stratified validation split of their own; the test split is opened by evaluation alone.

    Args:
        batch_size: Images a step, divided by the number of processes.
        val_size: How many training images are kept for validation, at least one a class.
        crop_padding: By how many pixels images are padded before a random crop of their size; 0: no crop.
        flip: Whether images are flipped at random.
        padding_mode: What is around a padded image: zeros, or its own pixels mirrored.
        rotation: By up to how many degrees images are turned at random, to either side.
        augmentation: crop_flip, as the options above say it; idbh_weak or idbh_strong, which shift, change and partly erase
            RGB images of 32×32 (IDBH), in place of crop, padding and rotation.
        cutmix: Share of the images that get a box of another one, with the labels of both (CutMix); 1 is all of them.
        workers: Processes that load images.
        seed: Of the order of the images.
        split_seed: Of the validation split: one for a whole study, so that no teacher has seen a validation image.
    """

    classes: Sequence[str]
    input_shape: tuple[int, int, int]
    additional: bool = False  # whether training sees more than this data set
    fold: int | None = None  # which part of all images is for test, where a study tests each of them once
    image_files: ImageFiles | None = None  # of a folder of images

    def __init__(
        self,
        *,
        batch_size: int,
        val_size: int,
        crop_padding: int,
        flip: bool,
        workers: int,
        seed: int,
        split_seed: int,
        padding_mode: PaddingMode = "zeros",
        rotation: float = 0.0,
        augmentation: Augmentation = "crop_flip",
        cutmix: float = 0.0,
    ) -> None:
        super().__init__()
        at_least(1, batch_size=batch_size)
        numbers = {"crop_padding": crop_padding, "workers": workers, "seed": seed, "split_seed": split_seed}
        for name, value in numbers.items():
            if not 0 <= value < 2**32:
                raise UserError(f"{name} = {value}: expected 0 or more, below 2**32")
        self.batch_size, self.val_size, self.workers = batch_size, val_size, workers
        self.crop_padding, self.flip = crop_padding, flip
        self.seed, self.split_seed = seed, split_seed
        self.padding_mode, self.rotation, self.cutmix = padding_mode, rotation, cutmix
        self.augmentation: str = augmentation
        self._check_switches()
        self._passes = 0  # that came to their last batch; without a trainer they are the epochs
        self._shown: tuple[int, list[list[int]]] = (-1, [])
        self._resident: Tensor | None = None  # the pixels there

    @property
    def switches(self) -> dict[str, str | float]:
        """What changes training images besides plain crops and flips, by the name of its option; empty if nothing does."""
        policy = self.augmentation if self.augmentation in ERASED else ""
        mode = self.padding_mode if self.padding_mode != "zeros" else ""
        values: dict[str, str | float] = {
            "augmentation": policy,
            "padding_mode": mode,
            "rotation": self.rotation,
            "cutmix": self.cutmix,
        }
        return {name: value for name, value in values.items() if value}

    def _check_switches(self) -> None:
        for name, most in (("rotation", 180), ("cutmix", 1)):
            if not 0 <= getattr(self, name) <= most:
                raise UserError(f"{name} = {getattr(self, name)}: expected 0 to {most}")
        one_of(PaddingMode, padding_mode=self.padding_mode)
        one_of(Augmentation, augmentation=self.augmentation)
        if self.padding_mode == "reflect" and not self.crop_padding:
            raise UserError("padding_mode = reflect: nothing is padded; expected crop_padding = 1 or more")
        if self.augmentation in ERASED:
            check_shape(self.augmentation, self.input_shape)
            if self.rotation or self.padding_mode != "zeros":
                raise UserError(
                    f"augmentation = {self.augmentation} pads and turns images itself: expected no padding_mode, no rotation"
                )

    @abstractmethod
    def training_images(self) -> Images:
        """All images that may be used in training, validation split included."""

    @abstractmethod
    def test_images(self) -> Images:
        """The test split; nothing in training calls this."""

    def setup(self, stage: str) -> None:  # noqa: ARG002
        """Keep a trainer from giving our loaders another sampler: they split the global batch among the processes."""
        if self.trainer is not None:
            self.trainer._accelerator_connector.use_distributed_sampler = False

    @property
    def title(self) -> str:
        """What tables and pictures call these images."""
        return type(self).__name__

    @property
    def num_classes(self) -> int:
        """How many classes the labels distinguish."""
        return len(self.classes)

    @property
    def test_images_by(self) -> dict[str, Any]:
        """The arguments that choose which images are for test; weights trained with others may have learned them."""
        return {"fold": self.fold}

    @property
    def validation_images_by(self) -> dict[str, Any]:
        """The arguments that choose which of the training images are for validation."""
        return {"val_size": self.val_size, "split_seed": self.split_seed}

    @property
    def training_labels(self) -> Tensor:
        """Of all images that training may show, (n,); −1 for one without a label."""
        return self.splits[0].labels

    @property
    def class_counts(self) -> Sequence[float]:
        """Images of each class that an epoch trains on."""
        return torch.bincount(self.splits[0].labels, minlength=self.num_classes).tolist()

    @property
    def image_count(self) -> int:
        """How many training images there are."""
        return len(self.splits[0])

    @property
    def images_an_epoch(self) -> int:
        """How many images an epoch shows; of some data sets more than are in one of their sources."""
        return self.image_count

    @cached_property
    def splits(self) -> tuple[Subset, Subset]:
        """Training and validation images."""
        images = self.training_images()
        check_labels(images.labels, self.num_classes)
        counts = torch.bincount(images.labels, minlength=self.num_classes)
        if int(counts.min()) < 2:
            name = self.classes[int(counts.argmin())]
            raise UserError(f"class {name} has {int(counts.min())} training images; expected 2 or more: one to validate on")
        most = len(images) - self.num_classes
        if not self.num_classes <= self.val_size <= most:
            raise UserError(
                f"val_size = {self.val_size}: expected {self.num_classes} (one a class) to {most} images: --data.val_size N"
            )
        train, val = stratified_split(images.labels.numpy(), self.val_size, self.split_seed)
        return tuple(Subset(images, torch.as_tensor(part), self.input_shape) for part in (train, val))  # type: ignore[return-value]

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Random crop, flip and rotation, a draw per image; nothing where the loader has changed the images already."""
        if self.augmentation in ERASED:
            return x
        if self.crop_padding:
            x = random_crop(x, self.crop_padding, generator, self.padding_mode)
        if self.flip:
            x = random_flip(x, generator)
        return random_rotation(x, self.rotation, generator) if self.rotation else x

    def mix(self, x: Tensor, y: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images that were augmented and their classes; with `cutmix` mixed images and shares of classes, (batch, C)."""
        return cutmix(x, y, self.num_classes, self.cutmix, generator) if self.cutmix else (x, y)

    @property
    def view_count(self) -> int:
        """How many different views of one image `augment` can show; raises UserError where they cannot be counted."""
        if endless := [name for name in self.switches if name != "padding_mode"]:
            raise UserError(
                f"{endless[0]} shows images in ever new ways, whose logits nobody stores: expected ard.models.Frozen"
            )
        return (2 * self.crop_padding + 1) ** 2 * (1 + self.flip)

    def views(self, count: int, generator: torch.Generator) -> Tensor:
        """Which view of each of `count` images `augment` shows with a CPU generator in the same state, (count,)."""
        views = torch.zeros(count, dtype=torch.long)
        if self.crop_padding:
            rows, columns = crop_offsets(count, self.crop_padding, generator)
            views = rows * (2 * self.crop_padding + 1) + columns
        return 2 * views + flips(count, generator) if self.flip else views

    def image_indices(self, batch_idx: int) -> Tensor:
        """Which training images this process sees in a batch of the epoch under way, (batch,)."""
        epoch, loader = self.trainer.current_epoch, self.trainer.train_dataloader  # type: ignore[union-attr]
        if self._shown[0] != epoch:
            self._shown = epoch, loader.order.batches()  # type: ignore[union-attr]
        return torch.tensor(self._shown[1][batch_idx])

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:  # noqa: ARG002
        return to_pixels(batch[0]), batch[1]

    def received(self, batch: Batch, batch_idx: int) -> Batch:  # noqa: ARG002
        """A batch on its device, as the engine takes it: pixels and labels already."""
        return batch

    def train_dataloader(self) -> Loader:
        return self._loader(self.splits[0], train=True)

    def val_dataloader(self) -> Loader:
        return self._loader(self.splits[1], train=False)

    def _loader(self, images: Subset, *, train: bool, others: Images | None = None, fraction: float = 0.0) -> Loader:
        trainer = self.trainer
        world_size = trainer.world_size if trainer else 1
        if self.batch_size % world_size:
            raise UserError(
                f"batch_size = {self.batch_size} is the global one: expected a multiple of {world_size} processes"
            )
        if train and len(images) < self.batch_size:
            raise UserError(f"batch_size = {self.batch_size}: expected at most the {len(images)} training images")
        if len(images) < world_size:
            raise UserError(
                f"val_size = {len(images)}: expected one validation image or more for each of {world_size} processes"
            )
        most = min(self.input_shape[1:]) - (self.padding_mode == "reflect")  # the edge itself is not mirrored
        if train and self.crop_padding > most:
            what = "below" if self.padding_mode == "reflect" else "at most"
            raise UserError(f"crop_padding = {self.crop_padding}: expected {what} the side of images {self.input_shape}")
        redrawn = train and self.augmentation in ERASED  # by torchvision, on the CPU
        device = torch.device("cpu") if redrawn or trainer is None else trainer.strategy.root_device
        shown: Any = self._placed(images, device) if others is None else Mixture(images, others)
        shown = Redrawn(shown, self.augmentation, self.flip) if redrawn else shown
        return Loader(
            shown,
            batch_size=self.batch_size,
            epoch=(lambda: trainer.current_epoch if trainer else self._passes) if train else None,
            ended=self._count_pass if train else None,
            seed=self.seed,
            rank=trainer.global_rank if trainer else 0,
            world_size=world_size,
            workers=self.workers,
            others=0 if others is None else len(others),
            fraction=fraction,
            seeded=redrawn,
        )

    def _count_pass(self) -> None:
        self._passes += 1

    def _placed(self, images: Subset, device: torch.device) -> Subset:
        """Images in memory are kept on a GPU that has room for them: no batch is copied, no step waits for one."""
        held = images.images
        if device.type != "cuda" or self.workers or not isinstance(held, MemoryImages):
            return images
        if held.pixels.nbytes > IMAGES_SHARE * torch.cuda.mem_get_info(device)[0]:
            return images
        if self._resident is None:
            self._resident = held.pixels.to(device)
        return Subset(MemoryImages(self._resident, held.labels), images.indices, images.shape)


def to_pixels(images: Tensor) -> Tensor:
    """uint8 -> float32 in [0, 1]; floats keep their values, for data modules that hold pixels already."""
    pixels = images.float() / 255 if images.dtype == torch.uint8 else images.float()
    return pixels.contiguous(memory_format=torch.channels_last)
