"""Prune a network by the name of a way."""

from importlib import import_module

import torch
from torch import nn

from ard.core.errors import UserError
from ard.pruning.names import check_way, ways
from ard.pruning.prunable import Left, Prunable


def prune_network(of: Prunable, how: str) -> Left:
    """Set weights of the network to zero in the way of this name; BatchNorm statistics stay.

    Returns, for ways that remove whole channels, how many are left by layer. Raises UserError for weights that are not
    finite, where no weight would stay, and where the way says nothing of such a network.
    """
    check_way(how)
    for name, value in of.network.named_parameters():
        if not value.isfinite().all():
            raise UserError(f"{name} holds numbers that are not finite: expected trained weights")
    if of.budget < 1:
        raise UserError(f"--keep {of.keep:g}: not one weight would stay; expected a larger share")
    left: Left = getattr(import_module(f"ard.pruning.ways.{ways()[how]}"), ways()[how])(of)
    return left


def nonzero(network: nn.Module) -> int:
    """How many parameters are not zero."""
    return sum(int(torch.count_nonzero(value)) for value in network.parameters())
