"""Channels by a budget of weights: how many weights are left when some channels go, and removing those that may."""

from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor

from ard.core.errors import UserError
from ard.pruning.channels import Channels
from ard.pruning.prunable import Left, Prunable


class Structure:
    """The channels of a network that may go, and what each combination of them leaves."""

    def __init__(self, of: Prunable, channels: Sequence[Channels]) -> None:
        self.of, self.channels = of, channels
        place = {name: index for index, one in enumerate(channels) for name in one.rows}
        read = {one.reader: index for index, one in enumerate(channels)}
        self.sizes = [(w.numel(), [p.get(name) for p in (place, read)]) for name, w in of.weights.items()]

    def left(self, stay: Sequence[int]) -> int:
        """How many weights are left where so many channels stay, one number an entry of `channels`."""
        total = 0
        for size, places in self.sizes:
            for place in places:
                size = size if place is None else size * stay[place] // self.channels[place].count
            total += size
        return total

    def check(self) -> None:
        """Raises UserError where the weights of these channels are too few for the budget."""
        everything, least = sum(size for size, _ in self.sizes), self.left([1] * len(self.channels))
        if least > self.of.budget:
            raise UserError(
                f"--keep {self.of.keep:g}: with one channel a layer {least / everything:.3f} of the weights are left; "
                "expected at least that, or --how magnitude"
            )

    def even(self) -> list[int]:
        """How many channels stay where every layer keeps the same share: the largest in the budget, at least one channel."""
        self.check()
        counts = [one.count for one in self.channels]
        shares = sorted({Fraction(part, count) for count in counts for part in range(1, count + 1)})

        def stay(share: Fraction) -> list[int]:
            return [max(1, int(share * count)) for count in counts]

        return stay(shares[max(0, bisect_right(shares, self.of.budget, key=lambda share: self.left(stay(share))) - 1)])

    def remove_lowest(self, scores: Sequence[Tensor]) -> Left:
        """Remove channels of the lowest score, (count,) for each entry of `channels`, until the budget is kept.

        Of equal ones the first go first; the last channel of a layer stays.
        """
        self.check()
        stay, gone = [one.count for one in self.channels], [list[int]() for _ in self.channels]
        places = [(index, channel) for index, one in enumerate(self.channels) for channel in range(one.count)]
        for place in torch.cat([score.double() for score in scores]).sort(stable=True).indices.tolist():
            if self.left(stay) <= self.of.budget:
                break
            index, channel = places[place]
            if stay[index] > 1:
                stay[index] -= 1
                gone[index].append(channel)
        for one, indices in zip(self.channels, gone, strict=True):
            one.remove(self.of.network, torch.tensor(indices, dtype=torch.long))
        return self.said(stay)

    def said(self, stay: Sequence[int]) -> Left:
        """How many channels stay, of how many, by layer."""
        return {one.layer: (kept, one.count) for one, kept in zip(self.channels, stay, strict=True)}
