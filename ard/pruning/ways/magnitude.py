"""The weights of the smallest magnitude go, of all layers together."""

from torch import Tensor

from ard.pruning.prunable import Left, Prunable


def magnitude(of: Prunable) -> Left:
    """Keep the round(keep n) weights of the largest |w|, one threshold for all layers (Kuhn et al., arXiv:2103.06002)."""
    of.keep_highest(Tensor.abs)
    return {}
