"""What every picture of methods shows: one mark a row, with its intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

from ard.report.pictures.style import COLOURS
from ard.report.rows import TEACHER_PREFIX, Row
from ard.report.table import shared_settings

MARKERS = "osD^vP"
TEACHER_MARK = ("#333333", "*")


@dataclass(frozen=True)
class Mark:
    """One row in the picture: accuracies in percent as (mean, low, high)."""

    name: str
    clean: tuple[float, float, float]
    worst: tuple[float, float, float]
    colour: str
    marker: str
    hollow: bool
    is_teacher: bool
    is_above_chance: bool

    @property
    def point(self) -> tuple[float, float]:
        return self.clean[0], self.worst[0]

    @property
    def label(self) -> str:
        """teachers/robust -> robust (teacher): a student may have the same name."""
        return f"{self.name.removeprefix(TEACHER_PREFIX)} (teacher)" if self.is_teacher else self.name


def marks_of(rows: Sequence[Row], differ: Sequence[str]) -> list[Mark]:
    """A mark for every row whose robust numbers are reliable; best and last of a method look alike."""
    rows = [row for row in rows if not row.warning]
    names = [row.among(differ) for row in rows]
    methods = list(dict.fromkeys(name for name, row in zip(names, rows, strict=True) if not row.is_teacher))
    marks = []
    for name, row in zip(names, rows, strict=True):
        k = 0 if row.is_teacher else methods.index(name)
        colour, marker = TEACHER_MARK if row.is_teacher else (COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)])
        clean, worst = row.percent("clean"), row.percent("worst")
        marks.append(Mark(name, clean, worst, colour, marker, row.is_last, row.is_teacher, row.is_above_chance))
    return marks


def title(rows: Sequence[Row], differ: Sequence[str]) -> str:
    """Data, number of images, suite and threat, where all rows share them."""
    shared = shared_settings(rows, differ)
    words = {"dataset": "", "n": "n = ", "suite": "suite ", "threat": ""}
    return ", ".join(f"{word}{shared[key]}" for key, word in words.items() if key in shared)


def bars(rows: Sequence[Row]) -> str:
    """What the error bars are."""
    return f"95 % interval over test images (Wilson){over_runs(rows)}"


def over_runs(rows: Sequence[Row]) -> str:
    """Over what else than images an interval is, where there are several runs of a row."""
    if any(row.folds > 1 for row in rows):
        return " and folds (t)"
    return " and seeds (t)" if any(len(row.records) > 1 for row in rows) else ""


def caption(rows: Sequence[Row]) -> str:
    """What the error bars are, and which rows are missing because a check failed."""
    left_out = ", ".join(row.label for row in rows if row.warning)
    return f"Error bars: {bars(rows)}." + (f" Left out as unreliable: {left_out}." if left_out else "")
