"""Is a teacher more accurate with another normalisation or another order of classes? Then the one in use is wrong."""

from collections.abc import Iterator

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from ard.core.logits import accuracy_of

CLEARLY = 0.1  # of all images: what another normalisation must gain
SWAPPED = 0.05  # what another order of the classes must gain: two classes of ten that are swapped cost at most 0.2
KNOWN = 0.4  # and the accuracy that it must reach: even for an untrained network some order fits a little
ASKED = 200  # images
CONSTANTS = {
    "ImageNet's mean and standard deviation": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "CIFAR-10's mean and standard deviation": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "mean 0.5 and standard deviation 0.5": ((0.5,) * 3, (0.5,) * 3),
}


def better_ways(teacher: nn.Module, x: Tensor, logits: Tensor, y: Tensor) -> str:
    """Which normalisation or order of classes is clearly more accurate, the better of both; empty where none is.

    Both are tried, and the one that makes it more accurate is named: for any teacher that is far off some order of classes
    fits a little better, which must not hide a wrong normalisation.
    """
    found = [better_order(logits, y), better_normalisation(teacher, x, logits, y)]
    return max(filter(None, found), default=(0.0, ""))[1]


def better_order(logits: Tensor, y: Tensor) -> tuple[float, str] | None:
    """The accuracy with another order of classes, and which."""
    order, right = best_order(logits, y)
    gain = right - accuracy_of(logits, y)
    if gain <= SWAPPED or right <= KNOWN:
        return None
    other = next(index for index, label in enumerate(order) if index != label)
    what = f"class {other} of it is our class {order[other]}: another order of classes"
    return right, f"{100 * gain:.0f} points more if {what}"


def better_normalisation(teacher: nn.Module, x: Tensor, logits: Tensor, y: Tensor) -> tuple[float, str] | None:
    """The accuracy on some of the images with another normalisation, and which."""
    few, theirs = x[:: -(-len(x) // ASKED)], y[:: -(-len(x) // ASKED)]
    usual = accuracy_of(logits[:: -(-len(x) // ASKED)], theirs)
    accuracies = {way: _right(teacher, asked, theirs) for way, asked in _normalised(few)}
    way = max(accuracies, key=lambda way: accuracies[way])
    if accuracies[way] - usual <= CLEARLY:
        return None
    said = f"{100 * accuracies[way]:.0f} % {way}: its normalisation is another (ard.models.Normalized)"
    return accuracies[way], said


def _normalised(x: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The images with each of the usual normalisations, and with each taken back."""
    for name, (mean, std) in CONSTANTS.items():
        m, s = (_channels(values, x) for values in (mean, std))
        yield f"with {name}", (x - m) / s
        yield f"without {name}", x * s + m


@torch.no_grad()
def _right(teacher: nn.Module, x: Tensor, y: Tensor) -> float:
    return accuracy_of(teacher(x), y)


def best_order(logits: Tensor, y: Tensor) -> tuple[list[int], float]:
    """Our class for each of the teacher's, so that most images are right, and the share that then is."""
    classes = logits.shape[1]
    pairs = torch.bincount(logits.argmax(dim=1) * classes + y, minlength=classes**2).view(classes, classes).cpu()
    _, order = linear_sum_assignment(pairs.numpy(), maximize=True)
    return order.tolist(), float(pairs[torch.arange(classes), torch.as_tensor(order)].sum()) / len(y)


def _channels(values: tuple[float, ...], x: Tensor) -> Tensor:
    channels = x.shape[1]
    chosen = values if channels == len(values) else [sum(values) / len(values)] * channels
    return torch.tensor(chosen, dtype=x.dtype, device=x.device).view(1, -1, 1, 1)
