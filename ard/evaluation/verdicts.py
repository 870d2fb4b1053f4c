"""The verdicts of all blocks, combined."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ard.evaluation.cascade import Block
from ard.evaluation.library_attacks import AUTOATTACK_PARTS


@dataclass(frozen=True)
class Verdicts:
    """`correct[name]` (n,) booleans on the CPU: the model was right on the clean image, or after that attack."""

    correct: dict[str, Tensor]
    blocks: Sequence[Block]

    @classmethod
    def of(cls, blocks: Sequence[Block]) -> "Verdicts":
        """From blocks in the order of the images: the attacks that all have, as one more may have been interrupted."""
        names = [name for name in blocks[0].correct if all(name in block.correct for block in blocks)]
        correct = {name: torch.cat([block.correct[name].cpu() for block in blocks]) for name in names}
        return cls(correct, blocks)

    @property
    def worst(self) -> Tensor:
        """Per image: right on the clean image and after every attack."""
        return torch.cat([block.worst.cpu() for block in self.blocks])

    @property
    def moved(self) -> Tensor:
        """Per image: some attack moved it by a tenth of eps."""
        return torch.cat([block.moved.cpu() for block in self.blocks if block.moved is not None])

    @property
    def x_adv(self) -> Tensor:
        """For each image the adversarial image that fooled the model, else the attempt that came closest to it."""
        return torch.cat([block.x_adv.cpu() for block in self.blocks if block.x_adv is not None])

    @property
    def indices(self) -> Tensor:
        """Indices of the images that were judged, according to the blocks."""
        return torch.cat([block.start + torch.arange(len(block.correct["clean"])) for block in self.blocks])

    @property
    def autoattack_acc(self) -> float | None:
        """After all four attacks of AutoAttack standard; None where one of them did not run."""
        return self.accuracy(list(AUTOATTACK_PARTS)[-1]) if all(name in self.correct for name in AUTOATTACK_PARTS) else None

    def accuracy(self, name: str) -> float:
        """After one attack; cumulative where that attack was not shown the images that others had already fooled."""
        return float(self.correct[name].double().mean())

    def total(self, name: str, fact: str) -> float:
        """A fact of one attack, summed over blocks."""
        return sum(float(block.facts[name].get(fact, 0)) for block in self.blocks)

    def largest(self, name: str, fact: str) -> float:
        """A fact of one attack, at its largest; 0 where no block has it."""
        return max((float(block.facts[name].get(fact, 0)) for block in self.blocks), default=0.0)

    @property
    def seconds(self) -> float:
        """Seconds of work, in all processes that shared it."""
        return sum(self.total(name, "seconds") for name in self.correct)
