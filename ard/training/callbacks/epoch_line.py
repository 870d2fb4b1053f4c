"""The line that stays of every epoch, and the header above it: at most 79 characters, so that no terminal breaks them."""

from dataclasses import dataclass

from ard.core.text import DASH, duration

COLUMNS = {"epoch": 5, "lr": 9, "loss": 9, "train": 7, "clean": 7, "robust": 7, "best": 12, "images/s": 10, "left": 13}
LEGEND = "accuracies in %: train on attacked images, clean and robust on validation images"


@dataclass(frozen=True, kw_only=True)
class EpochLine:
    """What an epoch came to; None is a dash.

    Attributes:
        epoch: Counted from 0, as in metrics.csv.
        lr: The learning rate of its last step.
        loss: The mean of the training loss over its steps.
        train_robust_acc: The mean of the accuracy on the attacked training images.
        clean_acc: The accuracy on validation images.
        robust_acc: The accuracy on attacked validation images.
        best: The highest value up to now of the metric that selects, and its epoch.
        images_per_s: Training images a second.
        left: Seconds until the run ends.
    """

    epoch: int
    lr: float | None
    loss: float | None
    train_robust_acc: float | None
    clean_acc: float | None
    robust_acc: float | None
    best: tuple[float, int] | None
    images_per_s: float | None
    left: float | None

    def __str__(self) -> str:
        best = DASH if self.best is None else f"{_points(self.best[0])} ({self.best[1]})"
        speed = DASH if self.images_per_s is None else f"{self.images_per_s:,.0f}"
        accuracies = [_points(value) for value in (self.train_robust_acc, self.clean_acc, self.robust_acc)]
        return _line(
            [
                str(self.epoch),
                _number(self.lr, ".3g"),
                _loss(self.loss),
                *accuracies,
                best,
                speed,
                duration(self.left),
            ]
        )


def header() -> str:
    """The names of the columns."""
    return _line(list(COLUMNS))


def _line(cells: list[str]) -> str:
    return "".join(f"{cell:>{width}}" for cell, width in zip(cells, COLUMNS.values(), strict=True))


def _points(fraction: float | None) -> str:
    return DASH if fraction is None else f"{100 * fraction:.1f}"


def _number(value: float | None, style: str) -> str:
    return DASH if value is None else f"{value:{style}}"


def _loss(value: float | None) -> str:
    return _number(value, ".3f" if value is None or 0.001 <= abs(value) < 1e4 else ".0e")
