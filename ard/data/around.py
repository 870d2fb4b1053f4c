"""A data set that is made of another one."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any, get_args

from ard.data.augmentation import Augmentation
from ard.data.base import DataModule
from ard.data.image_files import ImageFiles
from ard.data.loading import Images, Subset

AS_BASE = ("batch_size", "val_size", "crop_padding", "flip", "workers", "padding_mode", "rotation", "augmentation", "cutmix")


class Around(DataModule):
    """Images, classes, split and test images are those of `base`, and its options but for those that are told.

    Args:
        base: The other data set.
        seed: Of the order of the images.
        told: Options of a data module that take the place of the base's.
    """

    def __init__(self, base: DataModule, *, seed: int, **told: Any) -> None:
        self.classes, self.input_shape = base.classes, base.input_shape
        options: dict[str, Any] = {name: getattr(base, name) for name in AS_BASE}
        if base.augmentation not in get_args(Augmentation):  # of the base alone, such as Photos'
            options["augmentation"] = "crop_flip"
        super().__init__(**options | told, seed=seed, split_seed=base.split_seed)
        self.augmentation = told.get("augmentation", base.augmentation)
        self.base, self.fold = base, base.fold

    @property
    def title(self) -> str:
        return self.base.title

    @property
    def image_files(self) -> ImageFiles | None:  # type: ignore[override]
        return self.base.image_files

    @property
    def test_images_by(self) -> dict[str, Any]:
        return self.base.test_images_by

    @property
    def validation_images_by(self) -> dict[str, Any]:
        return self.base.validation_images_by

    @cached_property
    def splits(self) -> tuple[Subset, Subset]:
        """Those of the base."""
        return self.base.splits

    @property
    @abstractmethod
    def class_counts(self) -> Sequence[float]:
        """Images of each class in an epoch of what is made."""

    def training_images(self) -> Images:
        return self.base.training_images()

    def test_images(self) -> Images:
        return self.base.test_images()
