"""What an evaluation leaves to be looked at: how classes are confused, and images broken and unbroken side by side."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ard.artifacts.record import Record
from ard.artifacts.shown import MOST_SHOWN, Shown
from ard.core.pixels import levels_of
from ard.evaluation.cascade import evaluation_mode
from ard.evaluation.evaluation import Evaluation

ROOM = 2**22  # bytes of all chosen images, and of what was added to them


def gallery_of(evaluation: Evaluation, record: Record) -> Shown:
    """Of a finished evaluation and its record, at two forward passes over the images, in the batches they were judged in."""
    verdicts, x, y = evaluation.verdicts, evaluation.x, evaluation.y.cpu()
    assert verdicts is not None
    x_adv = verdicts.x_adv
    clean, worst = verdicts.correct["clean"].numpy(), verdicts.worst.numpy()
    index = chosen(y.numpy(), clean, worst, max(2, min(MOST_SHOWN, ROOM // (2 * x[0].numel()))))
    with evaluation_mode(evaluation.model), torch.no_grad():
        tables = [_confusion(evaluation, images, y) for images in (x, x_adv)]
        probabilities = [_probabilities(evaluation, images[index]) for images in (x, x_adv)]
    images = x[index].cpu()
    return Shown(
        confusion_clean=tables[0],
        confusion_attacked=tables[1],
        index=index,
        y=y.numpy()[index],
        clean=levels_of(images).numpy(),
        perturbation=(x_adv[index] - images).nan_to_num().numpy(),
        clean_probabilities=probabilities[0],
        attacked_probabilities=probabilities[1],
        weights=str(record.weights.sha256),
        dataset=record.dataset.digest,
        key=record.key,
    )


def chosen(y: np.ndarray, clean: np.ndarray, worst: np.ndarray, most: int = MOST_SHOWN) -> np.ndarray:
    """The places of at most so many images, in their order: half of them broken by the attack, half not.

    `clean` and `worst` are (n,) booleans: right on the image, right after every attack. Where one kind has too few, the
    other fills up; an image that was wrong before the attack is never chosen. Of each kind the first image of every class
    comes first, then the second of every class, and so on; where not all classes have room, some are taken at equal
    distances. Nothing is drawn at random.
    """
    broken, unbroken = _by_turns(y, clean & ~worst), _by_turns(y, clean & worst)
    share = max(most // 2, most - len(unbroken))
    taken = _spread(y, broken, share)
    return np.sort(np.concatenate([taken, _spread(y, unbroken, most - len(taken))]))


def _by_turns(y: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The places of wanted images: the first of every class, then the second of every class, and so on."""
    places = np.flatnonzero(wanted)
    places = places[np.argsort(y[places], kind="stable")]
    _, starts, counts = np.unique(y[places], return_index=True, return_counts=True)
    turn = np.arange(len(places)) - np.repeat(starts, counts)
    return places[np.argsort(turn, kind="stable")]


def _spread(y: np.ndarray, places: np.ndarray, most: int) -> np.ndarray:
    """The first of these places; where there are more classes than room, one image of some at equal distances."""
    classes = len(np.unique(y[places]))
    if classes <= most:
        return places[:most]
    return places[np.linspace(0, classes - 1, most).round().astype(int)]


def _logits(evaluation: Evaluation, images: Tensor) -> Iterator[Tensor]:
    for part in images.split(evaluation.block_size):
        yield evaluation.model(part.to(evaluation.x.device)).float().cpu()


def _confusion(evaluation: Evaluation, images: Tensor, y: Tensor) -> np.ndarray:
    """(classes, classes) counts: rows true classes, columns answers."""
    classes = evaluation.num_classes
    answers = torch.cat([logits.argmax(dim=1) for logits in _logits(evaluation, images)])
    counts: np.ndarray = torch.bincount(y * classes + answers, minlength=classes**2).view(classes, classes).numpy()
    return counts


def _probabilities(evaluation: Evaluation, images: Tensor) -> np.ndarray:
    """(k, classes), 0 where an answer of the network is no number."""
    if not len(images):  # a network may not know what to do with none
        return np.zeros((0, evaluation.num_classes), np.float32)
    return np.concatenate([logits.softmax(dim=1).nan_to_num().numpy() for logits in _logits(evaluation, images)])
