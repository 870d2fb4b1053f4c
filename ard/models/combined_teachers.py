"""Teachers made of other teachers."""

import hashlib
import math
from collections.abc import Sequence
from functools import cached_property
from typing import Self

import torch
from torch import Tensor, nn

from ard.core.errors import UserError
from ard.models.frozen import Frozen, teacher_of


class Ensemble(Frozen):
    """Several teachers as one: logits log (1/K) Σ_k softmax(T_k(x)), the mean of their probabilities.

    Pixels (batch, channels, H, W) in, (batch, C) out. Raises UserError for fewer than two members.

    Args:
        members: The teachers, each as one alone would be named.
    """

    def __init__(self, *, members: Sequence[Frozen]) -> None:
        if len(members) < 2:
            raise UserError(f"members: {len(members)} given; expected two teachers or more")
        teachers = [teacher_of(member) for member in members]
        super().__init__(weights=" + ".join(teacher.weights for teacher in teachers))
        self._held = list(teachers)

    def load(self, *, num_classes: int, input_shape: tuple[int, ...], option: str = "weights") -> Self:
        for place, member in enumerate(self._members):
            where = f"{option.removesuffix('.weights')}.members[{place}].weights"
            member.load(num_classes=num_classes, input_shape=input_shape, option=where)
        return self

    def check_there(self) -> None:
        for member in self._members:
            member.check_there()

    @property
    def _members(self) -> list[Frozen]:
        return [member for member in self._held if isinstance(member, Frozen)]

    @property
    def single_teachers(self) -> list[Frozen]:
        return [single for member in self._members for single in member.single_teachers]

    @property
    def loaded(self) -> bool:
        return all(member.loaded for member in self._members)

    @cached_property
    def sha256(self) -> str:
        """Digest of the members' digests, in their order."""
        return hashlib.sha256("".join(member.sha256 for member in self._members).encode()).hexdigest()

    @property
    def files(self) -> dict[str, str]:
        return {path: digest for member in self._members for path, digest in member.files.items()}

    def learner(self) -> nn.Module:
        raise UserError(f"the teacher that learns on is an ensemble, {self.weights}: expected one network")

    def forward(self, x: Tensor) -> Tensor:
        answers = torch.stack([member(x).float().log_softmax(dim=1) for member in self._members])
        return answers.logsumexp(dim=0) - math.log(len(answers))
