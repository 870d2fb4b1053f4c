"""What a method returns: two losses, and of the second one terms, whose sum is minimised."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ard.core.errors import UserError

if TYPE_CHECKING:
    from ard.objectives.base import Pair


def two_losses(pair: Any, method: str) -> "Pair":
    """What `method` returned; raises UserError where that is no pair of functions, or of None and a function."""
    is_pair = isinstance(pair, tuple) and len(pair) == 2 and (pair[0] is None or callable(pair[0])) and callable(pair[1])
    if not is_pair:
        raise UserError(
            f"{method} returned {pair!r}: expected two functions of the attacked images, (attack_loss, training_loss), the "
            "first of them None where there is no attack"
        )
    return pair


def total_loss(terms: dict[str, Tensor]) -> Tensor:
    """The loss that the optimiser minimises: the sum of the scalar terms; others are numbers for `after_step`.

    Raises UserError for a term of several numbers that has a gradient, which would be lost, and where no term is a scalar.
    """
    if not isinstance(terms, dict):
        raise UserError(f"a training loss returned a {type(terms).__name__}: expected a dictionary of terms, each a scalar")
    for name, term in terms.items():
        if not isinstance(term, Tensor):
            raise UserError(f'the term "{name}" of a training loss is a {type(term).__name__}: expected a scalar tensor')
        if term.ndim and term.requires_grad:
            raise UserError(
                f'the term "{name}" of a training loss has the shape {tuple(term.shape)}: expected a scalar, such as its '
                "mean; numbers that are not minimised are detached"
            )
    scalars = [term for term in terms.values() if term.ndim == 0]
    if not scalars:
        raise UserError("a training loss has no term that is a scalar: expected one or more, whose sum is minimised")
    return torch.stack(scalars).sum()
