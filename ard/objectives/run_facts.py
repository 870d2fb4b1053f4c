"""What a run tells its objective: of the whole run, once before training, and of each step."""

from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from ard.core.errors import UserError


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """What an objective, and every objective inside it, may know of each batch.

    Attributes:
        epoch: The epoch, from 0.
        batch: The batch inside the epoch, from 0.
        progress: The share of all optimiser steps that are done, in [0, 1].
        lr_factor: The learning rate now, relative to what the training block says.
        next_lr_factor: That of the step after this one; said when an epoch ends, to `on_epoch_end`.
        eps: The radius of the threat in this step.
        label_smoothing: The run's label smoothing, in [0, 1].
        generator: For the objective's own random draws, keyed by seed, epoch, batch and rank; None: torch's global one.
        image_indices: The places in the training set of the batch's images, shape (batch,), where the data say them.
    """

    epoch: int = 0
    batch: int = 0
    progress: float = 0.0
    lr_factor: float = 1.0
    next_lr_factor: float = 1.0
    eps: float = 0.0
    label_smoothing: float = 0.0
    generator: torch.Generator | None = None
    image_indices: Tensor | None = None

    @property
    def known_image_indices(self) -> Tensor:
        """`image_indices`, for methods that remember each image; raises UserError where the data do not say it."""
        if self.image_indices is None:
            raise UserError("the data do not say which images a batch shows: expected a DataModule of ard.data")
        return self.image_indices


class ThreatBall(Protocol):
    """The run's ball, for objectives that move perturbations of their own; ard.attacks.Ball says what each part does."""

    eps: float

    def uniform(self, x: Tensor, generator: Any) -> Tensor: ...

    def scaled(self, share: float) -> Self: ...

    def steepest(self, gradient: Tensor) -> Tensor: ...

    def shrink(self, delta: Tensor) -> Tensor: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class RunFacts:
    """What an objective, and every objective inside it, is given once before training.

    Attributes:
        student: The student as it begins; a run that goes on reads its checkpoint afterwards.
        teacher: The run's teacher, already loaded.
        num_classes: Number of classes C.
        image_count: Number of training images: the places in the training set that a step may show; 0 where nobody knows it.
        image_shape: Channels, height and width.
        threat: The threat, with the radius `threat.eps`; that of a step is Step.eps, which may be smaller at first.
        max_epochs: Epochs of the run.
        batches: Batches of an epoch.
        fitted_before: Whether this method has begun with this student before: a second fit of one LightningModule.
    """

    student: nn.Module
    teacher: nn.Module | None
    num_classes: int
    image_count: int
    image_shape: tuple[int, ...]
    threat: ThreatBall
    max_epochs: int
    batches: int
    fitted_before: bool = False
