"""What selecting an epoch on few validation images adds to the noise of a difference, from records of a study in folds."""

import statistics
from itertools import combinations
from pathlib import Path

from ard.artifacts.record import Repetition
from ard.core.statistics import folded_difference
from ard.core.text import markdown_table
from ard.report.grouping import group, load_records
from ard.report.rows import Row


def selection_noise(folder: Path) -> str:
    """Half the interval of two students' difference in the worst case, by seeds a fold: of selected and of last epochs."""
    rows = [row for row in group(load_records([folder])) if not row.is_teacher]
    seeds = sorted({record.training_seed for record in rows[0].records})
    lines = [
        [str(count), *(f"± {median_half(kind_of(rows, last), seeds, count):.1f}" for last in (False, True))]
        for count in range(1, len(seeds) + 1)
    ]
    return f"\n{markdown_table(['Seeds of each fold', 'selected epochs', 'last epochs'], lines)}\n\n"


def kind_of(rows: list[Row], last: bool) -> list[Row]:
    return [row for row in rows if row.is_last is last]


def median_half(rows: list[Row], seeds: list[int], count: int) -> float:
    """In points; the median over all pairs of rows and all choices of so many seeds."""
    return statistics.median(half(a, b, chosen) for a, b in combinations(rows, 2) for chosen in combinations(seeds, count))


def half(a: Row, b: Row, seeds: tuple[int, ...]) -> float:
    """Half the interval of the difference of two rows over some of the seeds of each fold, in points."""
    folds = dict.fromkeys(record.fold for record in a.records)
    runs = [{Repetition(seed, fold) for seed in seeds} for fold in folds]
    difference = folded_difference([(a.bits("worst", chosen), b.bits("worst", chosen)) for chosen in runs])
    return 50 * (difference.high - difference.low)
