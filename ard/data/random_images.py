"""Random pixels in the shape of a data set that is not there yet: a study is rehearsed on them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ard.core.randomness import keyed_generator
from ard.core.ranges import at_least
from ard.data.augmentation import Augmentation, PaddingMode
from ard.data.base import DataModule
from ard.data.image_folder import check_side
from ard.data.loading import Batch


class RandomImages(DataModule):
    """As many images as are asked for, their pixels and so their classes without any meaning.

    An image is made when it is fetched, from its number alone, so that large ones take no memory.

    Args:
        count: Images for training and validation together; as many again are for test.
        classes: How many classes there are.
        size: The side of the images in pixels.
        channels: 1 for grey images, 3 for colours.
    """

    def __init__(
        self,
        *,
        count: int = 100,
        classes: int = 10,
        size: int = 32,
        channels: int = 3,
        batch_size: int = 8,
        val_size: int = 10,
        crop_padding: int = 4,
        flip: bool = True,
        padding_mode: PaddingMode = "zeros",
        rotation: float = 0.0,
        augmentation: Augmentation = "crop_flip",
        cutmix: float = 0.0,
        workers: int = 0,
        seed: int = 0,
        split_seed: int = 0,
    ) -> None:
        at_least(1, count=count, classes=classes, channels=channels)
        check_side(size, size, name="size")
        self.count, self.input_shape = count, (channels, size, size)
        self.classes = tuple(f"class {index}" for index in range(classes))
        super().__init__(
            batch_size=batch_size,
            val_size=val_size,
            crop_padding=crop_padding,
            flip=flip,
            padding_mode=padding_mode,
            rotation=rotation,
            augmentation=augmentation,
            cutmix=cutmix,
            workers=workers,
            seed=seed,
            split_seed=split_seed,
        )

    def training_images(self) -> "Drawn":
        return Drawn("train", self.count, self.num_classes, self.input_shape)

    def test_images(self) -> "Drawn":
        return Drawn("test", self.count, self.num_classes, self.input_shape)


@dataclass(frozen=True)
class Drawn:
    """`count` random uint8 images of a shape (C, H, W); the classes take turns."""

    split: str
    count: int
    num_classes: int
    shape: tuple[int, int, int]

    @property
    def labels(self) -> Tensor:
        return torch.arange(self.count) % self.num_classes

    def __len__(self) -> int:
        return self.count

    def __getitems__(self, indices: list[int]) -> Batch:
        generators = [keyed_generator(torch.device("cpu"), "random image", self.split, index) for index in indices]
        drawn = [torch.randint(256, self.shape, generator=one, dtype=torch.uint8) for one in generators]
        return torch.stack(drawn), self.labels[indices]
