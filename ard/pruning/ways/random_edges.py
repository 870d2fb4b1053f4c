"""Weights drawn at random go: what every other way should be better than."""

import torch

from ard.core.randomness import keyed_generator
from ard.pruning.prunable import Left, Prunable


def random_edges(of: Prunable) -> Left:
    """Keep round(keep n) weights that are drawn evenly, without regard to their layer; equal seeds draw equal ones."""
    generator = keyed_generator("cpu", "pruning", of.seed)
    of.keep_highest(lambda weight: torch.rand(weight.shape, generator=generator, dtype=torch.float64))
    return {}
