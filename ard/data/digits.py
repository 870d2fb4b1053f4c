"""Handwritten digits that come with scikit-learn: real images, nothing to download. A smoke test, not a benchmark."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from ard.core.errors import UserError
from ard.data.augmentation import Augmentation, PaddingMode
from ard.data.base import DataModule
from ard.data.loading import MemoryImages
from ard.data.splitting import stratified_folds, stratified_split

TEST_SIZE, TEST_SEED = 400, 0
FOLDS = 5


class Digits(DataModule):
    """1,797 grey 8×8 digits: 400 for test by a fixed seed, 200 for validation, 1,197 for training; never flipped.

    Args:
        fold: Which fifth of all digits is for test, 0 to 4, in place of the 400: over five runs each digit is tested once.
            The others are for validation and training. A teacher must have been trained with the same fold.
        batch_size: See DataModule, as the others.
    """

    classes = tuple("0123456789")
    input_shape = (1, 8, 8)

    def __init__(
        self,
        *,
        batch_size: int = 128,
        val_size: int = 200,
        crop_padding: int = 0,
        fold: int | None = None,
        padding_mode: PaddingMode = "zeros",
        rotation: float = 0.0,
        augmentation: Augmentation = "crop_flip",
        cutmix: float = 0.0,
        seed: int = 0,
        split_seed: int = 0,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            val_size=val_size,
            crop_padding=crop_padding,
            flip=False,
            padding_mode=padding_mode,
            rotation=rotation,
            augmentation=augmentation,
            cutmix=cutmix,
            workers=0,
            seed=seed,
            split_seed=split_seed,
        )
        if fold is not None and not 0 <= fold < FOLDS:
            raise UserError(f"fold = {fold}: expected 0 to {FOLDS - 1}, or null for the usual test split")
        self.fold = fold

    def training_images(self) -> MemoryImages:
        return _digits(self.fold, test=False)

    def test_images(self) -> MemoryImages:
        return _digits(self.fold, test=True)


def _digits(fold: int | None, *, test: bool) -> MemoryImages:
    table = _table()
    # Values are 0..16: stored as whole multiples of 1/255, as every other image, so that evaluation can check them.
    pixels = torch.as_tensor(table[:, :-1].reshape(-1, 8, 8) * 255 / 16).round().to(torch.uint8).unsqueeze(1)
    labels = torch.as_tensor(table[:, -1], dtype=torch.long)
    if fold is None:
        split = stratified_split(labels.numpy(), TEST_SIZE, TEST_SEED)
    else:
        split = stratified_folds(labels.numpy(), FOLDS, TEST_SEED)[fold]
    chosen = split[1] if test else split[0]
    return MemoryImages(pixels[chosen], labels[chosen])


@cache
def _table() -> np.ndarray:
    """Pixels and label of each digit, from scikit-learn's own file: importing scikit-learn for it takes a second."""
    spec = find_spec("sklearn")
    for folder in (spec and spec.submodule_search_locations) or ():
        file = Path(folder, "datasets", "data", "digits.csv.gz")
        if file.is_file():
            return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits  # another version may keep it elsewhere

    digits = load_digits()
    return np.column_stack([digits.data, digits.target])
