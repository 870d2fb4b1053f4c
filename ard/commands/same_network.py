"""Files that hold one network, such as a selected epoch that is the last one: their images are attacked once."""

from dataclasses import replace

from ard.commands.subject import Subject, short_path
from ard.core.same_bits import same_bits, tensors_of
from ard.evaluation.cascade import Block
from ard.evaluation.evaluation import Evaluation


class JudgedBefore:
    """What the file before came to: its network, a digest of all else that verdicts depend on, and its blocks."""

    def __init__(self) -> None:
        self._subject: Subject | None = None
        self._key = ""
        self._blocks: dict[int, Block] = {}

    def hand_to(self, evaluation: Evaluation, subject: Subject, key: str) -> None:
        """Give its blocks to the evaluation of a file that holds the same network, bit for bit; forget them in any case."""
        before, self._subject = self._subject, None
        if before is not None and key == self._key and _same_network(before, subject):
            evaluation.blocks = dict(self._blocks)
            evaluation.notes += (
                f"the network of {short_path(before.weights)}, bit for bit, whose attacks were not run again",
            )
        self._blocks = {}

    def keep(self, evaluation: Evaluation, subject: Subject, key: str) -> None:
        """Remember it for the next file; without the images, which that reads itself."""
        self._subject, self._key, self._blocks = replace(subject, x=subject.x[:0].clone()), key, evaluation.blocks


def _same_network(one: Subject, other: Subject) -> bool:
    return one.network_spec == other.network_spec and same_bits(tensors_of(one.model), tensors_of(other.model))
