"""A data set of which less is known: few labels, or wrong ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ard.core.errors import UserError
from ard.core.ranges import one_of
from ard.data.around import Around
from ard.data.base import DataModule
from ard.data.loading import Batch, Images, MemoryImages, Subset, fingerprint
from ard.data.splitting import stratified_split

Unlabelled = Literal["drop", "keep"]
WrongAs = Literal["any", "next"]


class KnownLabels(Around):
    """`base`, of whose training images only some have a label, or a share a wrong one; validation and test are the base's.

    What is known is drawn once, from the base's split_seed: the same for all methods, seeds and epochs. Training images that
    have no label in the base stay, and count in no share.

    Args:
        base: The data set, whose batch size, split and augmentation are used.
        labelled: How many training images keep their label, each class its share; None: all.
        unlabelled: What becomes of the others: they are dropped, or kept without a label, for methods that need none.
        wrong: Share of the labels that are wrong, in [0, 1).
        wrong_as: What a wrong label says: any other class alike, or always the next one.

    Raises:
        UserError: For numbers out of range, and words that are none of these.
    """

    def __init__(
        self,
        *,
        base: DataModule,
        labelled: int | None = None,
        unlabelled: Unlabelled = "drop",
        wrong: float = 0.0,
        wrong_as: WrongAs = "any",
        seed: int = 0,
    ) -> None:
        if base.additional:
            raise UserError("KnownLabels around a data set with additional images: expected Mixed around KnownLabels")
        if not 0 <= wrong < 1:
            raise UserError(f"wrong = {wrong}: expected a share in [0, 1)")
        one_of(Unlabelled, unlabelled=unlabelled)
        one_of(WrongAs, wrong_as=wrong_as)
        super().__init__(base, seed=seed)
        self.labelled, self.unlabelled, self.wrong, self.wrong_as = labelled, unlabelled, wrong, wrong_as

    @cached_property
    def splits(self) -> tuple[Subset, Subset]:
        """Training images with the labels that are known, and validation images with their own."""
        train, val = self.base.splits
        labels, kept = train.images.labels.clone(), train.indices
        places = kept[train.labels >= 0]
        known = self._known(labels[places])
        if self.unlabelled == "drop":
            kept = kept[~torch.isin(kept, places[~known])]
        else:
            labels[places[~known]] = -1
        self._mislead(labels, places[known])
        return Subset(_with_labels(train.images, labels), kept, self.input_shape), val

    @property
    def class_counts(self) -> Sequence[float]:
        """Training images of each class, by the labels that are known."""
        labels = self.splits[0].labels
        return torch.bincount(labels[labels >= 0], minlength=self.num_classes).tolist()

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """As the base does."""
        return self.base.augment(x, generator)

    @property
    def view_count(self) -> int:
        """As the base says."""
        return self.base.view_count

    def views(self, count: int, generator: torch.Generator) -> Tensor:
        """As the base does."""
        return self.base.views(count, generator)

    def _known(self, labels: Tensor) -> Tensor:
        """Which of these labels of training images are known, bool (n,)."""
        if self.labelled is None or self.labelled == len(labels):
            return torch.ones(len(labels), dtype=torch.bool)
        if not self.num_classes <= self.labelled < len(labels):
            raise UserError(f"labelled = {self.labelled}: expected {self.num_classes} (one a class) to {len(labels)} images")
        known = torch.zeros(len(labels), dtype=torch.bool)
        known[torch.as_tensor(stratified_split(labels.numpy(), self.labelled, self.split_seed)[1])] = True
        return known

    def _mislead(self, labels: Tensor, places: Tensor) -> None:
        """Give a share of the labels at these places a wrong class."""
        draw, count = np.random.RandomState(self.split_seed), round(self.wrong * len(places))
        chosen = places[torch.as_tensor(draw.permutation(len(places))[:count], dtype=torch.long)]
        if self.wrong_as == "next":
            ahead = torch.ones(count, dtype=torch.long)
        else:
            ahead = torch.as_tensor(draw.randint(1, self.num_classes, size=count))
        labels[chosen] = (labels[chosen] + ahead) % self.num_classes


@dataclass(frozen=True)
class _Relabelled:
    """Images with other labels."""

    images: Images
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: list[int]) -> Batch:
        return self.images.__getitems__(indices)[0], self.labels[indices]

    def fingerprint(self) -> str:
        return fingerprint(self.images)


def _with_labels(images: Images, labels: Tensor) -> Images:
    return MemoryImages(images.pixels, labels) if isinstance(images, MemoryImages) else _Relabelled(images, labels)
