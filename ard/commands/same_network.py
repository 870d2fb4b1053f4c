"""Files that hold one network, such as a selected epoch that is the last one: their images are attacked once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ard.commands.subject import Subject, short_path
from ard.core.same_bits import same_bits, tensors_of
from ard.evaluation.cascade import Block
from ard.evaluation.evaluation import Evaluation


@dataclass(frozen=True)
class Finished:
    """An evaluation that has ended: its weights, their network, a digest of all else that verdicts depend on, its blocks."""

    weights: Path
    spec: Any
    model: nn.Module
    key: str
    blocks: dict[int, Block]


class PreviousEvaluation:
    """The evaluation of the file before this one; where both hold one network, bit for bit, its attacks do not run again."""

    def __init__(self) -> None:
        self._finished: Finished | None = None

    def reuse_blocks(self, evaluation: Evaluation, subject: Subject, key: str) -> None:
        """Give its blocks to the evaluation of a file that holds the same network; forget them in any case.

        `key` is a digest of everything but the weights that verdicts depend on.
        """
        before, self._finished = self._finished, None
        if before is not None and key == before.key and _is_same_network(before, subject):
            evaluation.blocks = dict(before.blocks)
            evaluation.notes += (
                f"the network of {short_path(before.weights)}, bit for bit, whose attacks were not run again",
            )

    def keep(self, evaluation: Evaluation, subject: Subject, key: str) -> None:
        """Remember it for the next file."""
        self._finished = Finished(subject.weights, subject.network_spec, subject.model, key, evaluation.blocks)


def _is_same_network(before: Finished, subject: Subject) -> bool:
    return before.spec == subject.network_spec and same_bits(tensors_of(before.model), tensors_of(subject.model))
