"""A record where it is stored, and the row that the records of one method make."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from ard.artifacts.paths import RECORD, run_home
from ard.artifacts.record import Record, Repetition, warning_of
from ard.artifacts.record_parts import Overall
from ard.artifacts.run_name import row_name
from ard.core.statistics import accuracy_interval
from ard.core.text import one_line

Kind = Literal["clean", "worst"]
TEACHER_PREFIX = "teachers/"  # in front of the name of a teacher's row


@dataclass(frozen=True)
class StoredRecord:
    """A record and the file it was read from."""

    path: Path
    record: Record
    is_stale: bool = False  # of other weights than those that lie beside it now
    title: str | None = None  # what somebody calls it, whatever record and folder say

    @property
    def folder(self) -> Path:
        """Its folder."""
        return self.path.resolve().parent

    @property
    def home(self) -> Path:
        """The folder of all seeds and folds of a run."""
        return run_home(self.folder)

    @property
    def method(self) -> str:
        """The method, and first how its start was pruned; by the folder where the record does not say."""
        if self.record.run is None:
            return one_line(self.home.name)
        start = [self.record.pruned.words, "then"] if self.record.pruned else []
        return one_line("-".join([*start, self.record.run.method]))

    @property
    def name(self) -> str:
        """What it is called, else the method with what was swept."""
        if self.title is not None:
            return one_line(self.title)
        return one_line(row_name(self.method, self.record.run.swept if self.record.run else {}))

    @property
    def is_last(self) -> bool:
        """Of the last epoch; by the file's name where nothing is known of the training."""
        record = self.record
        return record.is_last if record.run or record.training else self.path.name != RECORD

    @property
    def study(self) -> str | None:
        """The study that trained it."""
        return self.record.run.study if self.record.run else None


@dataclass(frozen=True)
class Row:
    """The records of one method and one kind of checkpoint, one a run, in the order of folds and seeds."""

    method: str
    members: tuple[StoredRecord, ...]
    teacher: str | None  # as the table names it
    is_teacher: bool

    @property
    def records(self) -> list[Record]:
        return [member.record for member in self.members]

    @property
    def first(self) -> Record:
        """The record of the first seed."""
        return self.members[0].record

    @property
    def is_last(self) -> bool:
        """Of the last epoch, not of the selected one."""
        return self.members[0].is_last

    @property
    def is_named_by_folder(self) -> bool:
        """Its records do not say which run they are of."""
        return self.first.run is None

    @property
    def label(self) -> str:
        return f"{self.method} (last)" if self.is_last else self.method

    def among(self, differ: Sequence[str], *, label: bool = False) -> str:
        """Its method or label, and behind it the settings in which records differ."""
        return ", ".join([self.label if label else self.method, *(self.first.settings[key] for key in differ)])

    @property
    def warning(self) -> str:
        """The text shown in place of robust numbers where a check failed; empty where none did."""
        return warning_of(self.records)

    @property
    def is_above_chance(self) -> bool:
        """Whether every seed does more than name one class; else no attack may hurt it, and the row is never the best."""
        return all(record.is_above_chance for record in self.records)

    @property
    def word(self) -> Overall:
        """The verdict of the seed that has the worst."""
        return max((record.word for record in self.records), key=get_args(Overall).index)

    def accuracies(self, kind: Kind) -> list[float]:
        """One a seed."""
        return [record.clean_acc if kind == "clean" else record.robust_acc for record in self.records]

    def average(self, numbers: Sequence[float]) -> float:
        """The mean of numbers, one a run, in which each fold counts once, however many seeds it has."""
        return float(np.mean(self.by_fold(numbers)))

    def mean(self, kind: Kind) -> float:
        """Over the seeds."""
        return self.average(self.accuracies(kind))

    def numbers(self, read: Callable[[Record], float | None]) -> list[float]:
        """What `read` finds in a record, one value a seed; empty where not every record has it."""
        known = [value for record in self.records if (value := read(record)) is not None]
        return known if len(known) == len(self.records) else []

    def bits(self, kind: Kind, runs: Collection[Repetition]) -> np.ndarray:
        """Verdicts "clean" or "worst" (runs, n) of the runs asked for, all of one fold."""
        return np.stack([getattr(record, kind) for record in self.records if record.repetition in runs])

    @property
    def n(self) -> int:
        """Test images, over all folds."""
        return sum({record.fold: record.n for record in self.records}.values())

    @property
    def folds(self) -> int:
        """Of how many folds its records are; 1 for the data set's own test split."""
        return len({record.fold for record in self.records})

    def by_fold(self, values: Sequence[float]) -> list[float]:
        """Of one number a run the mean of each fold, whose runs share images and teacher; without folds the numbers."""
        if self.folds == 1:
            return list(values)
        folds: dict[int | None, list[float]] = defaultdict(list)
        for record, value in zip(self.records, values, strict=True):
            folds[record.fold].append(value)
        return [float(np.mean(part)) for part in folds.values()]

    def interval(self, accuracies: Sequence[float]) -> tuple[float, float]:
        """The 95 % interval of the mean of accuracies, one a run."""
        return accuracy_interval(self.by_fold(accuracies), self.n)

    def percent(self, kind: Kind) -> tuple[float, float, float]:
        """The mean over the seeds and the two ends of its interval."""
        low, high = self.interval(self.accuracies(kind))
        return 100 * self.mean(kind), 100 * low, 100 * high

    @property
    def seeds(self) -> set[int]:
        """How many seeds each fold has, which may not be as many in all of an unfinished study."""
        return set(Counter(record.fold for record in self.records).values())

    @property
    def repeats(self) -> str:
        """How many seeds, and of how many folds."""
        seeds = from_to(self.seeds)
        return seeds if self.folds == 1 else f"{seeds} × {self.folds} folds"


def from_to(counts: Collection[int]) -> str:
    """The one count, or such as 1 to 3."""
    return " to ".join(str(count) for count in sorted({min(counts), max(counts)}))


def by_one_checkpoint(rows: Sequence[Row]) -> list[Row]:
    """The selected checkpoint of every method, or the last where the rows have no other."""
    selected = {row.method for row in rows if not row.is_last}
    return [row for row in rows if not (row.is_last and row.method in selected)]
