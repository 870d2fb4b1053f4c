"""IDBH: the strong augmentation with which adversarial training alone rivals distillation, image by image on the CPU."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ard.core.errors import UserError
from ard.data.loading import Batch, Images

ERASED = {"idbh_weak": 0.5, "idbh_strong": 1.0}  # with which probability a part of an image becomes black
MOST_SHIFT = 10  # pixels that are cut off a row and a column together


def idbh(image: Tensor, *, flip: bool, erasing: float) -> Tensor:
    """IDBH of Li and Spratling (ICLR 2023, arXiv:2301.09879), with the constants of its authors' code for 32×32 pixels.

    In this order: mirror with probability 1/2; cut 0 to 10 pixels off its sides and put the rest anywhere on black
    (CropShift); one of eight changes of colour or shape (ColorShape); make a part of 2 to 33 % black (RandomErasing).
    It draws from torch's global CPU generator, as torchvision does.

    Args:
        image: uint8, RGB, shape (3, H, W), each side above 10.
        flip: Whether it may be mirrored.
        erasing: With which probability a part becomes black: 0.5 is the authors' weak variant, 1 the strong one.
    """
    from torchvision.transforms.v2 import functional

    if flip and _whole(2):
        image = image.flip(2)
    picture = functional.to_pil_image(crop_shift(image))
    return _random_erasing(erasing)(functional.pil_to_tensor(colour_shape(picture, functional)))


def crop_shift(image: Tensor) -> Tensor:
    """A window that is 0 to 10 pixels smaller, rows and columns together, from anywhere to anywhere on black."""
    _, height, width = image.shape
    lost = _whole(MOST_SHIFT + 1)
    columns = _whole(lost + 1)
    rows = lost - columns
    (top, left), (row, column) = ((_whole(rows + 1), _whole(columns + 1)) for _ in range(2))
    shifted = torch.zeros_like(image)
    window = image[:, top : top + height - rows, left : left + width - columns]
    shifted[:, row : row + height - rows, column : column + width - columns] = window
    return shifted


def colour_shape(picture: Any, functional: Any) -> Any:
    """One of eight changes of a PIL image, each as likely; `functional` is torchvision.transforms.v2.functional."""
    changes: list[Callable[[], Any]] = [
        lambda: functional.adjust_saturation(picture, _uniform(0.1, 1.9)),
        lambda: functional.adjust_brightness(picture, _uniform(0.5, 1.9)),
        lambda: functional.adjust_contrast(picture, _uniform(0.5, 1.9)),
        lambda: functional.adjust_sharpness(picture, _uniform(0.1, 1.9)),
        lambda: functional.autocontrast(picture),
        lambda: functional.equalize(picture),
        lambda: functional.affine(picture, angle=0.0, translate=[0, 0], scale=1.0, shear=_shear()),
        lambda: functional.rotate(picture, angle=_sign() * (1 + _whole(10))),
    ]
    return changes[_whole(len(changes))]()


@dataclass(frozen=True)
class Redrawn:
    """Images that are changed one by one, by the seed that comes with an index; in the loader's workers, if it has some.

    `images` are uint8, and a batch of them is asked for by [(index, seed), ...].
    """

    images: Images
    augmentation: str
    flip: bool

    @property
    def labels(self) -> Tensor:
        return self.images.labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, drawn: list[tuple[int, int]]) -> Batch:
        pixels, labels = self.images.__getitems__([index for index, _ in drawn])
        changed = []
        with torch.random.fork_rng([]):
            for image, (_, seed) in zip(pixels, drawn, strict=True):
                torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every GPU, too
                changed.append(idbh(image, flip=self.flip, erasing=ERASED[self.augmentation]))
        return torch.stack(changed), labels


def check_shape(augmentation: str, shape: tuple[int, ...]) -> None:
    """Raises UserError for images that IDBH cannot change."""
    if shape[0] != 3 or min(shape[1:]) <= MOST_SHIFT:
        what = f"{shape[0]} × {shape[1]} × {shape[2]}"
        raise UserError(
            f"augmentation = {augmentation}: images are {what}; expected RGB ones, {MOST_SHIFT + 1} pixels or more"
        )


@cache
def _random_erasing(probability: float) -> Callable[[Tensor], Tensor]:
    from torchvision.transforms import v2

    return v2.RandomErasing(p=probability)


def _shear() -> list[float]:
    """Along rows or columns, by 0.05 to 0.15 radians to either side; in degrees."""
    angle = _sign() * math.degrees(_uniform(0.05, 0.15))
    return [angle, 0.0] if _whole(2) else [0.0, angle]


def _whole(count: int) -> int:
    return int(torch.randint(count, ()))


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def _sign() -> int:
    return 1 - 2 * _whole(2)
