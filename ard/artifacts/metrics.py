"""Reading metrics.csv and summary.json."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ard.artifacts.typed_json import parsed
from ard.core.errors import UserError
from ard.core.files import small_text

LARGEST = 256 * 2**20  # bytes; a line a logged step


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The rows of a metrics.csv without empty cells; none where there is no file yet, UserError where it is damaged.

    A last line without its end is left out: whoever wrote it was killed, and half a number looks like a number.
    """
    try:
        text = small_text(path, LARGEST)
        table = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1], newline=""), strict=True)
        rows = [{key: value for key, value in row.items() if value} for row in table]
        if any(None in row or int(row["step"]) < 0 for row in rows):
            raise ValueError("a row with too few or too many cells")
        return rows
    except FileNotFoundError:
        return []
    except (OSError, csv.Error, KeyError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}): expected a column `step` of whole numbers; move it away") from error


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What the validation of an epoch measured; accuracies are fractions.

    `chance` is what the clean accuracy must exceed to be above naming the most frequent class; None where nobody says it.
    """

    epoch: int
    clean_acc: float
    robust_acc: float
    chance: float | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From metrics by the names under which they are logged."""
        chance = values.get("val/chance")
        return cls(
            epoch=int(values["epoch"]),
            clean_acc=float(values["val/clean_acc"]),
            robust_acc=float(values["val/robust_acc"]),
            chance=None if chance is None else float(chance),
        )

    @property
    def is_above_chance(self) -> bool:
        """Whether an epoch may be selected: a network that always names one class may not, however robust that is."""
        return self.chance is None or self.clean_acc > self.chance


def read_validations(path: Path) -> list[Validation]:
    """Every validation in a metrics.csv, in the order of its epochs; none where it cannot be read."""
    try:
        rows = [row for row in read_metrics(path) if {"epoch", "val/clean_acc", "val/robust_acc"} <= row.keys()]
        return [Validation.of(row) for row in rows]
    except ValueError:  # a UserError, or a cell that is no number
        return []


def read_summary(path: Path) -> dict[str, Any]:
    """What a summary.json says; raises OSError or ValueError where there is none, or a damaged one."""
    content = parsed(small_text(path))
    return content if isinstance(content, dict) else {}
