"""What shards of one evaluation agree on: all attack as many images at once as the one with the least memory can."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ard.core.errors import UserError
from ard.evaluation.blocks import Store


@dataclass(frozen=True)
class SharedBlocks:
    """The stores of an evaluation by how many images are attacked at once, and the size that this attempt is of.

    Blocks of two sizes never make one record. So a shard goes on with smaller ones only where no other has finished one of
    this size, and where somebody has begun smaller ones the others come to them.
    """

    stores: Mapping[int, Store]
    block_size: int
    part: tuple[int, int]

    @property
    def store(self) -> Store:
        """That of this size."""
        return self.stores[self.block_size]

    @property
    def smaller(self) -> list[Store]:
        """Of fewer images at once, the most first."""
        return [self.stores[size] for size in sorted(self.stores, reverse=True) if size < self.block_size]

    @property
    def _smaller_begun(self) -> bool:
        return any(store.folder.is_dir() for store in self.smaller)

    def check_size(self) -> None:
        """Raises OutOfMemoryError where another shard had memory for fewer images at once alone."""
        if self.part[1] > 1 and self._smaller_begun:
            raise torch.OutOfMemoryError("another shard attacks fewer images at once")

    def without_memory(self, count: int) -> None:
        """Make way for smaller blocks of `count` images; raises UserError where other shards are done with some of these."""
        shard, of = self.part
        if of == 1:
            self.store.remove()  # blocks of this size are nobody's
            return
        with self.store.alone():
            if self._others_are_done(count) and not self._smaller_begun:
                raise UserError(
                    f"shard {shard}/{of} has no memory to attack {self.block_size} images at once, as others did: call it "
                    "again where more memory is free, or without --shard, which then attacks fewer"
                )
            for store in self.smaller[:1]:
                store.open()

    def _others_are_done(self, count: int) -> bool:
        """Whether others have judged a block of this size, or have none to judge and so have ended."""
        (shard, of), starts = self.part, range(0, count, self.block_size)
        others = [start for place, start in enumerate(starts) if place % of != shard - 1]
        return len(starts) < of or any(self.store.read(start).whole for start in others)

    def remove(self) -> None:
        """Delete the blocks of every size, once the record is written."""
        for store in self.stores.values():  # of others, too: begun by a shard before another had no memory for it
            store.remove()
