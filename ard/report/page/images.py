"""What an evaluation left to be looked at: images before and after the attack, and which classes are taken for which."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ard.artifacts.record import Record
from ard.artifacts.shown import Shown
from ard.report.page.pixels import data_uri, heat, levels, magnified, thinned

READABLE = 20  # classes: above, a confusion is an image and a list
MOST_CONFUSED = 12  # pairs in that list


@dataclass(frozen=True)
class Answer:
    """A class and the probability that the network gave it."""

    name: str
    confidence: str


@dataclass(frozen=True)
class Pictured:
    """One image: what it is, what the network says of it and of the attacked one, and three pictures."""

    name: str
    is_broken: bool
    clean: Answer
    attacked: Answer
    images: tuple[str, str, str]  # clean, attacked, what was added, magnified


@dataclass(frozen=True)
class Confusion:
    """Counts of answers by true class; the rows as (class, counts with their share of the row), or an image of many."""

    title: str
    names: list[str]
    rows: list[tuple[str, list[tuple[int, float]]]]
    image: str
    pairs: list[tuple[str, str, int]]  # true, answer, how often: the most frequent mistakes


def class_names(record: Record, count: int) -> list[str]:
    """Of the record where it has one a class, else their numbers."""
    names = [one.name for one in record.per_class]
    return names if len(names) == count else [str(k) for k in range(count)]


def pictured(shown: Shown, names: Sequence[str]) -> tuple[list[Pictured], float]:
    """Broken images first, and by how much what was added is magnified; grey stands for no change."""
    largest = float(np.abs(shown.perturbation).max(initial=0))
    found = []
    for clean, attacked, added, y, before, after in zip(
        shown.clean,
        shown.attacked,
        shown.perturbation,
        shown.y,
        shown.clean_probabilities,
        shown.attacked_probabilities,
        strict=True,
    ):
        images = (thinned(clean), thinned(levels(attacked)), thinned(magnified(added, largest)))
        addresses = (data_uri(images[0]), data_uri(images[1]), data_uri(images[2]))
        is_broken = int(after.argmax()) != int(y)
        found.append(Pictured(names[y], is_broken, _answer(before, names), _answer(after, names), addresses))
    return sorted(found, key=lambda one: not one.is_broken), 0.5 / largest if largest else 1.0


def confusion(title: str, counts: np.ndarray, names: list[str]) -> Confusion:
    """Of a (classes, classes) table: rows are true classes, columns answers."""
    sums = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shares = counts / sums
    wrong = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSED]
    pairs = [(names[k // len(counts)], names[k % len(counts)], int(wrong.flat[k])) for k in order.tolist() if wrong.flat[k]]
    if len(counts) > READABLE:
        return Confusion(title, names, [], heat(shares), pairs)
    rows = [
        (name, list(zip(row.tolist(), share.tolist(), strict=True)))
        for name, row, share in zip(names, counts, shares, strict=True)
    ]
    return Confusion(title, names, rows, "", pairs)


def _answer(probabilities: np.ndarray, names: Sequence[str]) -> Answer:
    best = int(probabilities.argmax())
    return Answer(names[best], f"{100 * float(probabilities[best]):.0f} %")
