"""The teacher as a labeller: a method that learns from the classes that the teacher names."""

import torch
from torch import Tensor, nn

from ard.core.errors import UserError
from ard.losses import shares_of
from ard.objectives.base import Composed, Objective, Pair
from ard.objectives.pgd_at import PGDAT


class TeacherLabels(Composed):
    """`base` with the class that the teacher names, argmax T(x), in the place of the label: a control of distillation, which
    asks whether more than the labels of a teacher helps.

    Attack loss and training loss: those of `base` with argmax T(x) for y. With `missing_only` a label that is there stays,
    and images without one (y = −1) get the teacher's: robust self-training (RST, Carmon et al., NeurIPS 2019,
    arXiv:1905.13736) where the teacher is a network that learned from the labelled images, and `base` is TRADES.

    Args:
        base: The method, with or without a teacher of its own; PGD-AT by default.
        missing_only: Whether only images without a label get one.

    Raises:
        UserError: For a base that looks at no label, such as RSLAD.
    """

    def __init__(self, *, base: Objective | None = None, missing_only: bool = False) -> None:
        super().__init__(base or PGDAT())
        if base is not None and base.labels == "none":
            raise UserError(
                f"{type(base).__name__} looks at no label: expected a base that learns from labels, such as PGDAT"
            )
        self.missing_only = missing_only
        self.needs_teacher, self.labels = True, "none"

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:
        with torch.no_grad():
            named = teacher(x).argmax(dim=1)
        if self.missing_only:
            named = self._filled(y, named)
        return self.base(student, self.base.wanted_teacher(teacher), x, named)

    def _filled(self, y: Tensor, named: Tensor) -> Tensor:
        """The labels that are there, and those that the teacher names for what has none: images, or parts of mixed ones."""
        if y.ndim == 1:
            return torch.where(y < 0, named, y)
        if self.base.labels == "class":
            raise UserError(f"{type(self.base).__name__} needs one class an image; CutMix mixes two: expected another base")
        return y + (1 - y.sum(dim=1, keepdim=True)) * shares_of(named, y.shape[1], y.dtype)
