"""CIFAR-10 and CIFAR-100 as torchvision reads them, downloaded on first use."""

import os
import tarfile
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from ard.core.errors import UserError
from ard.core.user_paths import written_out
from ard.data.augmentation import Augmentation, PaddingMode
from ard.data.base import DataModule
from ard.data.loading import MemoryImages

PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
CIFAR10_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck"
CIFAR100_CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""


_may_fetch = ContextVar("may_fetch", default=True)


@contextmanager
def nothing_fetched() -> Iterator[None]:
    """Inside, nothing is downloaded and no folder made: for data that a file of somebody else names."""
    token = _may_fetch.set(False)
    try:
        yield
    finally:
        _may_fetch.reset(token)


class CIFAR(DataModule):
    """Photographs of 32×32, 50,000 for training and 10,000 for test, kept under `root`.

    Raises UserError, naming the archive to fetch by hand, where the images are neither there nor to be downloaded.

    Args:
        root: The folder that holds the images, or that they are downloaded to.
        workers: Processes that load images: of use where an augmentation is slow (idbh_weak, idbh_strong).
    """

    input_shape = (3, 32, 32)

    def __init__(
        self,
        *,
        root: str = "data",
        batch_size: int = 128,
        val_size: int = 1000,
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
        self.root = Path(written_out(root))

    @abstractmethod
    def source(self) -> Any:
        """torchvision's class, imported only now: it takes two seconds."""

    def prepare_data(self) -> None:
        """Fetch what is missing; Lightning calls this in one process of each node, before any opens the images."""
        try:
            self.source()(self.root, train=False)  # checks the MD5 of every file, those of the training images too
        except RuntimeError as error:
            if not _may_fetch.get():
                raise UserError(
                    f"{self.root}/ holds no intact {type(self).__name__}; what a file of weights names is not fetched: "
                    f"add --data configs/{type(self).__name__.lower()}.yaml"
                ) from error
            _fetch(self.source(), self.root)

    def training_images(self) -> MemoryImages:
        return self._open(train=True)

    def test_images(self) -> MemoryImages:
        return self._open(train=False)

    def _open(self, *, train: bool) -> MemoryImages:
        if self.trainer is None:  # a trainer has called it already
            self.prepare_data()
        dataset = self.source()(self.root, train=train)
        pixels = torch.from_numpy(dataset.data).permute(0, 3, 1, 2).contiguous()
        return MemoryImages(pixels, torch.tensor(dataset.targets))


class CIFAR10(CIFAR):
    """Ten classes of animals and vehicles, 5,000 training images each."""

    classes = tuple(CIFAR10_CLASSES.split())

    def source(self) -> Any:
        from torchvision import datasets

        return datasets.CIFAR10


class CIFAR100(CIFAR):
    """A hundred classes (the fine labels), 500 training images each."""

    classes = tuple(CIFAR100_CLASSES.split())

    def source(self) -> Any:
        from torchvision import datasets

        return datasets.CIFAR100


def _fetch(source: Any, root: Path) -> None:
    """Unpack the archive in `root`, downloading it if there is none; files appear whole or not at all.

    Everything happens in a folder of its own, since several runs of a study may start at once.
    """
    from torchvision.datasets.utils import check_integrity, download_url

    given, folder = root / source.filename, root / source.base_folder
    by_hand = f"put {source.filename} from {PAGE} into {root}/"
    if given.exists() and not check_integrity(given, source.tgz_md5):
        raise UserError(f"{given} is damaged: expected MD5 {source.tgz_md5}; {by_hand}, or delete it and try again")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=root, prefix=".cifar-") as scratch:
            if not given.exists():
                download_url(source.url, scratch, source.filename, source.tgz_md5)
            with tarfile.open(given if given.exists() else Path(scratch, source.filename)) as archive:
                archive.extractall(scratch, filter="data")
            folder.mkdir(exist_ok=True)
            for file in Path(scratch, source.base_folder).iterdir():
                os.replace(file, folder / file.name)
    except (OSError, RuntimeError, HTTPException, tarfile.TarError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{root}/ holds no intact {source.__name__}, fetching failed ({reason}); {by_hand}") from error
