"""Training images of a data set mixed with others: generated ones, or ones without labels."""

from collections.abc import Sequence
from functools import cached_property
from typing import get_args

import torch
from torch import Tensor

from ard.core.errors import UserError
from ard.core.pixels import check_labels
from ard.core.user_paths import written_out
from ard.data.around import Around
from ard.data.augmentation import Augmentation, PaddingMode
from ard.data.base import DataModule
from ard.data.loading import Loader, own_count
from ard.data.npz_images import NpzImages


class Mixed(Around):
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
        if own_count(base.batch_size, fraction) == base.batch_size:
            raise UserError(f"fraction = {fraction} of a batch of {base.batch_size} is no image; expected a larger one")
        switches = {"padding_mode": padding_mode, "rotation": rotation, "augmentation": augmentation, "cutmix": cutmix}
        told = {name: value for name, value in switches.items() if value is not None}
        self.as_base = not told.keys() - {"cutmix"}
        if base.augmentation not in get_args(Augmentation) and not self.as_base:
            raise UserError(f"{next(iter(told))}: {type(base).__name__} augments in its own way; expected to leave it out")
        super().__init__(base, seed=seed, **told)
        self.additional, self.path, self.fraction = True, written_out(others), fraction

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

    def train_dataloader(self) -> Loader:
        return self._loader(self.splits[0], train=True, others=self.others, fraction=self.fraction)
