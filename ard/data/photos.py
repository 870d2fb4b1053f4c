"""Own photographs: ordinary folders, few images, and augmentation as it is used for fine-tuning."""

import hashlib
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from ard.core.class_folders import ClassFolders, class_folders, is_split
from ard.core.errors import UserError
from ard.core.randomness import key_seed
from ard.core.ranges import one_of
from ard.data.image_folder import ImageFolder
from ard.data.loading import Batch

PhotoAugmentation = Literal["crop", "trivial", "none"]
SCALE = (0.4, 1.0)  # of an image's area that a random crop shows


class Photos(ImageFolder):
    """root/<class>/*, of which a part is kept for the test; or root/train/<class>/* and root/test/<class>/*.

    Which images are for the test depends on what is in their files: names do not matter, exact copies lie on one side, and
    photographs that are added or deleted move none of the others. Only of a class of so few that none would be for the test,
    or fewer than two for training, one may move; weights know which images they learned, and are refused on them. Of a burst
    of nearly equal ones some may end on each side; put such series into test/ and train/ yourself. A file that is edited is
    another image.
    Training shows a random crop of 40 % to all of an image, resized, perhaps mirrored, its brightness, contrast, saturation
    and hue changed a little (torchvision's transforms v2), drawn for each image and epoch.
    Raises UserError as ImageFolder does, and for a class with fewer than three images where there is no test folder.

    Args:
        root: The folder that holds the class folders, or train/ and test/.
        size: The side of the images in pixels; larger and smaller ones are resized, and cropped to a square.
        val_size: Which share of the training images is kept for validation; of each class one at least, and never all.
        test_size: Which share of the images is kept for the test, where there is no test folder; drawn for each image, so
            that small classes differ in it.
        augmentation: crop, as described; trivial, the same with one operation of TrivialAugment (Müller and Hutter, ICCV
            2021) in place of the change of colours; none.
        grey: Whether images become grey, of one channel.
        workers: Processes that decode a split that is too large to be held.
        memory_limit_mb: A split below that size is decoded once and held by each process.
        name: What tables call the images; by default their folder's name.
    """

    def __init__(
        self,
        *,
        root: str,
        size: int = 128,
        batch_size: int = 32,
        val_size: float = 0.15,
        test_size: float = 0.15,
        augmentation: PhotoAugmentation = "crop",
        cutmix: float = 0.0,
        grey: bool = False,
        workers: int = 2,
        memory_limit_mb: int = 2000,
        name: str | None = None,
        seed: int = 0,
        split_seed: int = 0,
    ) -> None:
        one_of(PhotoAugmentation, augmentation=augmentation)
        for key, share in (("val_size", val_size), ("test_size", test_size)):
            if not 0 < share < 1:
                raise UserError(f"{key} = {share:g}: expected a share of the images, between 0 and 1")
        self.test_size, self.val_share, self.split_seed = test_size, val_size, split_seed
        super().__init__(
            root=root,
            size=size,
            grey=grey,
            batch_size=batch_size,
            val_size=1,
            crop_padding=0,
            flip=False,
            cutmix=cutmix,
            workers=workers,
            memory_limit_mb=memory_limit_mb,
            name=name,
            seed=seed,
            split_seed=split_seed,
        )
        self.augmentation = augmentation
        self.val_size, self._batch_idx = self._validation_count(), 0

    def _validation_count(self) -> int:
        """Of each class one at least, and never all."""
        count = sum(map(len, self.train_files.values()))
        return max(min(round(self.val_share * count), count - self.num_classes), self.num_classes)

    @property
    def test_images_by(self) -> dict[str, Any]:
        """Nothing where a folder has them."""
        drawn = {} if is_split(self.root) else {"test_size": self.test_size, "split_seed": self.split_seed}
        return super().test_images_by | drawn

    @property
    def validation_images_by(self) -> dict[str, Any]:
        return super().validation_images_by | {"val_size": self.val_share}

    def _folders(self, split: Literal["train", "test"]) -> ClassFolders:
        if is_split(self.root):
            return super()._folders(split)
        return self._drawn[split]

    @property
    def _has_test(self) -> bool:
        return not is_split(self.root) or super()._has_test

    @cached_property
    def _drawn(self) -> dict[Literal["train", "test"], ClassFolders]:
        """Both parts of an ordinary folder, sorted by content: a name decides nothing, not even what is for validation."""
        folders = class_folders(self.root, at_least=3)  # one to train on, to validate on, to test on
        self.digests.of([file for files in folders.files.values() for file in files])  # all at once, which is faster
        parts: tuple[dict[str, list[str]], dict[str, list[str]]] = {}, {}
        for name, files in folders.files.items():
            parts[0][name], parts[1][name] = self._parted(files)
        return {"train": ClassFolders(parts[0], folders.skipped), "test": ClassFolders(parts[1], folders.skipped)}

    def _parted(self, files: list[str]) -> tuple[list[str], list[str]]:
        """The files of a class for training and for the test: nobody's choice, and the same tomorrow."""
        found = {file: _share(digest, self.split_seed) for file, digest in zip(files, self.digests.of(files), strict=True)}
        files = sorted(files, key=lambda file: (found[file], file))
        count = min(max(sum(share < self.test_size for share in found.values()), 1), len(files) - 2)
        copies = sum(found[file] <= found[files[count - 1]] for file in files)  # of the last one, exact ones
        count = copies if copies <= len(files) - 2 else count
        return files[count:], files[:count]

    @property
    def view_count(self) -> int:
        raise UserError("photographs are shown in ever new crops, whose logits nobody stores: expected ard.models.Frozen")

    def received(self, batch: Batch, batch_idx: int) -> Batch:
        self._batch_idx = batch_idx
        return batch

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Each image by itself: for a whole batch, torchvision's transforms would make one draw, and take no generator."""
        if self.augmentation == "none":
            return x
        change, images = _transforms(self.augmentation, x.shape[-1]), []
        with torch.random.fork_rng([]):
            for image, seed in zip(x, self._seeds(len(x), generator), strict=True):
                torch.default_generator.manual_seed(seed)  # the others, of GPUs, are not put back
                images.append(change(image))
        return torch.stack(images).clamp(0, 1).contiguous(memory_format=torch.channels_last)

    def _seeds(self, count: int, generator: torch.Generator) -> list[int]:
        """Of each image of the batch under way; without a trainer nobody knows which images these are."""
        if self.trainer is None:
            return torch.randint(2**62, (count,), generator=generator, device=generator.device).tolist()
        epoch = self.trainer.current_epoch
        return [key_seed("photo", self.seed, epoch, index) for index in self.image_indices(self._batch_idx).tolist()]


def _transforms(augmentation: str, size: int) -> Any:
    from torchvision.transforms import v2

    colours = v2.ColorJitter(0.2, 0.2, 0.2, 0.02) if augmentation == "crop" else v2.TrivialAugmentWide()
    return v2.Compose([v2.RandomResizedCrop(size, scale=SCALE, antialias=True), v2.RandomHorizontalFlip(), colours])


def _share(digest: str, seed: int) -> float:
    """Where a digest lies in [0, 1)."""
    return int.from_bytes(hashlib.sha256(f"{seed} {digest}".encode()).digest()[:6], "big") / 2**48
