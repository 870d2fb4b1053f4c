"""The accuracy of a teacher on the validation images of a run, and a warning where it is not above chance."""

import os
import warnings
from contextlib import nullcontext
from dataclasses import dataclass

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from ard.artifacts.card import Card, check_fold, check_images_of, check_unseen, check_validation
from ard.artifacts.weights import card_of
from ard.core.errors import UserError
from ard.core.statistics import wilson_interval
from ard.core.text import percent
from ard.data import DataModule, to_pixels
from ard.data.loading import balanced_images
from ard.models.frozen import Frozen
from ard.training.engine import Engine

TEACHER_IMAGES = 200  # validation images that a run asks its teacher about when it begins
ONE_SIDED_99 = 0.98  # the level of a two-sided interval whose lower bound is that of 99 % to one side


@dataclass(frozen=True)
class Accuracy:
    """The share of n images classified correctly, and the bounds that the true share is within, 99 % to each side."""

    share: float
    n: int

    @property
    def bounds(self) -> tuple[float, float]:
        return wilson_interval(self.share, self.n, level=ONE_SIDED_99)

    def beats_chance(self, num_classes: int) -> bool:
        """Whether the lower bound is above 1 / C."""
        return self.bounds[0] > 1 / num_classes


def validation_images(data: DataModule, limit: int) -> tuple[Tensor, Tensor]:
    """Images x (n, C, H, W) in [0, 1] and labels y (n,) of the validation split, as equally many a class as there are."""
    levels, y = balanced_images(data.splits[1], limit)
    return to_pixels(levels), y


def teacher_card(teacher: Frozen) -> Card:
    """The card in a teacher's file; one that says nothing where it has none."""
    return _card(teacher.weights) if os.path.isfile(teacher.weights) else Card()


def _card(path: str) -> Card:
    try:
        return card_of(path)
    except UserError:
        return Card()


def untaught(teacher: Frozen) -> str:
    """In words, where a teacher's card says that no epoch of its training was above chance; empty where it does not."""
    training = teacher_card(teacher).training
    if training is None or not training.of_no_epoch:
        return ""
    return "no epoch of its training was above chance (its card: selected_by none): train it again, until one is"


class TeacherCheck(pl.Callback):
    """Warns when training begins with a teacher whose accuracy is not above chance; `found` are the accuracies by place.

    A teacher of other classes, or of the same in another order, is refused, and so are weights to begin with that may have
    learned images for test or validation, and a teacher that has learned test images, unless `allow_mismatch` says that they
    agree.
    """

    def __init__(self, *, allow_mismatch: bool = False) -> None:
        self.found: dict[str, Accuracy] = {}
        self.allow_mismatch = allow_mismatch

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Engine)
        with nullcontext() if trainer.is_global_zero else warnings.catch_warnings(action="ignore"):
            self._check_cards(pl_module)

    def _check_cards(self, pl_module: Engine) -> None:
        for path in () if self.allow_mismatch else pl_module.start:
            check_fold(_card(path), path, pl_module.data)
            check_unseen(_card(path), path, pl_module.data, allow_mismatch=False)
            if isinstance(pl_module.data, DataModule):
                check_validation(_card(path), path, pl_module.data)
        for teacher in pl_module.teachers().values():
            for path in filter(os.path.isfile, teacher.files):
                card = _card(path)
                check_images_of(card, path, pl_module.data, allow_mismatch=self.allow_mismatch)
                check_unseen(card, path, pl_module.data, allow_mismatch=self.allow_mismatch)

    @rank_zero_only
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Engine)
        data = pl_module.data
        what = "validation" if isinstance(data, DataModule) else "training"
        for place, teacher in pl_module.teachers().items():
            x, y = validation_images(data, TEACHER_IMAGES) if isinstance(data, DataModule) else data.few
            accuracy = answered(teacher, x.to(pl_module.device), y.to(pl_module.device))
            if accuracy.n:
                self.found[place] = accuracy
            going_on = trainer.global_step > 0  # the warning was given when the run began
            if going_on:
                continue
            right = f"teacher {teacher.weights} is right on {percent(accuracy.share)} of {accuracy.n} {what} images"
            cause, is_known = untaught(teacher), not accuracy.n or accuracy.beats_chance(pl_module.num_classes)
            if cause or not is_known:
                cause = cause or "another normalisation, or another order of classes? `ard doctor` checks it"
                warnings.warn(f"{right}{'' if is_known else ', not above chance'}: {cause}", stacklevel=1)


@torch.no_grad()
def answered(network: torch.nn.Module, x: Tensor, y: Tensor) -> Accuracy:
    """How many of the images are classified correctly, in float32 and without touching any random state.

    Labels are classes, or shares of them, of which the largest counts; images without a label, −1, do not.
    """
    y = y.argmax(dim=1) if y.ndim == 2 else y
    x, y = x[y >= 0], y[y >= 0]
    if not len(y):
        return Accuracy(0.0, 0)
    with torch.random.fork_rng([]), torch.autocast(x.device.type, enabled=False):
        right = sum(int((network(a).argmax(dim=1) == b).sum()) for a, b in zip(x.split(100), y.split(100), strict=True))
    return Accuracy(right / len(y), len(y))
