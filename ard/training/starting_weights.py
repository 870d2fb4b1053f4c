"""The weights that a student starts from; of a pruned file the zeros stay, or training would compare other networks."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from ard.artifacts.card import Card
from ard.artifacts.facts import Pruned, said
from ard.artifacts.paths import weights_file
from ard.artifacts.weights import read_stored
from ard.models.loading import fill


def start_from(init: str | Path | None, student: nn.Module) -> tuple[dict[str, str], Pruned | None, set[str] | None]:
    """Fill a student from a file of weights, whose last layer may be for other classes.

    Returns the SHA-256 of the file by its path, nothing where there is none, how the file was pruned, and the digests of the
    images that it has learned, None where it does not say which.
    """
    if init is None:
        return {}, None, set()
    stored = read_stored(init)
    fill(student, stored.state, stored.card, init, any_head=True)
    card = stored.card
    unsaid = card.learned is None and said(card.data, ["test_size"])  # of photographs, as earlier versions wrote it
    return {weights_file(init): stored.sha256}, keep_zeros(student, card), None if unsaid else set(card.learned or ())


def keep_zeros(student: nn.Module, card: Card) -> Pruned | None:
    """Let no gradient reach the parameters of a student that are zero, if its file's card says that weights were pruned.

    SGD and AdamW then leave them as they are, exactly: gradient, moments and weight decay of a zero are zero. Weight
    perturbation does not move them either, and neither clipping nor a norm of gradients counts them. They are known from the
    file alone, so that a resumed run knows the same ones. Returns what the card says.
    """
    if card.pruned is not None:
        for parameter in student.parameters():
            if parameter.requires_grad and (parameter == 0).any():
                without = _Without(parameter.detach() == 0)
                parameter.register_hook(without)
                parameter.held_at_zero = without  # type: ignore[attr-defined]
    return card.pruned


@contextmanager
def only_what_learns_moves(student: nn.Module) -> Iterator[None]:
    """Puts back what an objective that projects weights has no business with: frozen ones, and zeros of a pruned start."""
    frozen = {parameter: parameter.detach().clone() for parameter in student.parameters() if not parameter.requires_grad}
    yield
    with torch.no_grad():
        for parameter in student.parameters():
            if parameter in frozen:
                parameter.copy_(frozen[parameter])
            elif hasattr(parameter, "held_at_zero"):
                parameter.copy_(parameter.held_at_zero(parameter))


class _Without:
    """A gradient in which some places are zero, whatever was there, NaN and infinities included."""

    def __init__(self, places: Tensor) -> None:
        self.places = places

    def __call__(self, gradient: Tensor) -> Tensor:
        self.places = self.places.to(gradient.device)  # the student is moved to its device after it is made
        return gradient.masked_fill(self.places, 0)
