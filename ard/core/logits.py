"""Does a network return one logit a class for these images, and leave them as they are? And how many are right?"""

import torch
from torch import Tensor, nn

from ard.core.errors import UserError
from ard.core.text import first_line


class WritingError(UserError):
    """A network writes into the images that it is given, which others read after it."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} writes into the images that it is given, which others read after it: expected a `forward` that leaves "
            "them as they are, x - mean in place of x.sub_(mean)"
        )


def logits_of(
    network: nn.Module, x: Tensor, name: str, num_classes: int | None = None, refusals: type[Exception] = Exception
) -> Tensor:
    """The logits of a network for images x (n, C, H, W); UserError where it fails on them, or returns something else.

    `refusals` are the exceptions that count as a failure: networks from elsewhere refuse a wrong size each in its own way.
    One that writes into its images, as `x.sub_(mean)` does, is a WritingError.
    """
    before = x.detach().clone()
    try:
        logits = network(x)
    except Exception as error:
        if x.requires_grad and "leaf Variable" in str(error):  # what torch says of x.sub_(mean)
            raise WritingError(name) from error
        if not isinstance(error, refusals):
            raise
        images = f"images of shape {tuple(x.shape[1:])}" + (f", {len(x)} at a time" if network.training else "")
        reason = first_line(str(error) or type(error).__name__)
        raise UserError(f"{name} cannot read {images}: {reason}") from error
    if not torch.equal(x, before):
        raise WritingError(name)
    return check_logits(logits, len(x), name, num_classes)


def check_logits(logits: Tensor, count: int, name: str, num_classes: int | None = None) -> Tensor:
    """`logits` as they are; raises UserError for anything but (count, classes), and for another number of classes."""
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != count:
        returned = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        classes = f"; data has {num_classes} classes" if num_classes is not None else ""
        alone = "" if isinstance(logits, Tensor) else ", as a tensor and nothing beside it"
        wanted = f"expected one logit a class for each image{alone}{classes}"
        raise UserError(f"{name} returns {returned} for {count} images; {wanted}")
    if num_classes is not None and logits.shape[1] != num_classes:
        raise UserError(f"{name} answers with {logits.shape[1]} classes, data has {num_classes} classes")
    return logits


def accuracy_of(logits: Tensor, y: Tensor) -> float:
    """The share of images whose largest logit is that of their label y (n,)."""
    return float((logits.argmax(dim=1) == y).double().mean())
