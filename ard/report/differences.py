"""Paired differences between rows: which method is significantly best, and how far each is from a baseline."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ard.artifacts.record import Repetition
from ard.core.errors import UserError
from ard.core.statistics import Difference, folded_difference, holm, paired_difference
from ard.core.text import in_points, markdown_table, one_line
from ard.report.rows import Kind, Row, by_one_checkpoint

MEASURED: tuple[Kind, Kind] = ("worst", "clean")
ONE_SEED, NOT_SIGNIFICANT, EQUAL, AT_CHANCE, OTHER_EPOCH = "one seed", "n.s.", "equal", "at chance", "other epoch"
COLUMNS = ("Worst", "Clean", "paired runs", "for 2 points")
SAME, AIM = 0.01, 0.02  # within which rows are called equal; what methods are said to differ by
EXPLANATION = (
    "Differences in points, row − baseline, paired by image and seed, with 95 % intervals: t over seeds and z over images, "
    "or t over folds, each for its row alone. Bold: not 0 when corrected for the number of rows, too (Holm, p < 0.05, each "
    "column by itself); equal: the whole interval lies within ±1 point; n.s.: it may be 0, or not: nothing is decided. One "
    "seed: the interval covers the choice of images, not of the training seed, which may turn the difference, so that it is "
    "never bold. Last column: how many times the runs and images, at most, would show a worst case that is truly 2 points "
    "apart, four times out of five, compared alone and not corrected."
)

EXPLAINED = {
    AT_CHANCE: "At chance: one of the two may name one class whatever it sees (O20), which no attack hurts; never bold.",
    OTHER_EPOCH: "Other epoch: one of the two was selected, the other is the last, which they differ by, too; never bold.",
}


def difference_of(a: Row, b: Row, kind: Kind) -> Difference | None:
    """The paired difference of verdicts over the runs that both rows have, by seed and fold; None without any."""
    both = _common(a, b)
    folds = [{run for run in both if run.fold == fold} for fold in dict.fromkeys(run.fold for run in sorted(both, key=str))]
    pairs = [(a.bits(kind, runs), b.bits(kind, runs)) for runs in folds]
    if len(pairs) > 1:
        return folded_difference(pairs)
    return paired_difference(*pairs[0]) if pairs else None


def _common(a: Row, b: Row) -> set[Repetition]:
    return {record.repetition for record in a.records} & {record.repetition for record in b.records}


def significant(differences: Sequence[Difference | None]) -> list[bool]:
    """Which of them are not 0 when corrected for how many they are; none with one seed."""
    return [p < 0.05 for p in holm([1.0 if difference is None else difference.p for difference in differences])]


def doubt(difference: Difference | None) -> str:
    """Why a difference is not bold."""
    return ONE_SEED if difference is not None and difference.runs == 1 else NOT_SIGNIFICANT


def decided(difference: Difference) -> str:
    """Whether a difference that is not bold is known to be next to nothing, or not known."""
    small = difference.runs > 1 and difference.low > -SAME and difference.high < SAME
    return EQUAL if small else doubt(difference)


def needed(difference: Difference | None) -> str:
    """How many times the runs and images it would take to see a difference of AIM, in words."""
    if difference is None or difference.runs == 1:
        return "more seeds"
    factor = (difference.visible / AIM) ** 2
    return "enough" if factor <= 1 else f"{factor:.1f} ×"


def leader(rows: Sequence[Row], kind: Kind) -> tuple[Row, str] | None:
    """The best student, and why it is not significantly above all others; None without a rival."""
    rivals = [row for row in students(rows) if row.is_above_chance and not (kind == "worst" and row.warning)]
    if len(rivals) < 2:
        return None
    first, *others = sorted(rivals, key=lambda row: -row.mean(kind))
    differences = [difference_of(first, other, kind) for other in others]
    # Of the runs that both have, which may not be all that are averaged.
    ahead = [difference is not None and difference.mean > 0 for difference in differences]
    alike = not any(_other_epoch(first, other) for other in others)
    return first, "" if alike and all(ahead) and all(significant(differences)) else doubt(differences[0])


@dataclass(frozen=True)
class DifferenceTable:
    """Every student against one row: cells as Markdown has them, and what a reader has to know."""

    header: list[str]
    lines: list[list[str]]
    notes: list[str]

    @classmethod
    def of(cls, rows: Sequence[Row], baseline: str | None) -> "DifferenceTable | str":
        """To the row of that name, or the strongest without a teacher; the reason where there are none.

        Raises UserError where no row has the baseline's name.
        """
        reference = reference_of(rows, baseline)
        if reference is None:
            return "No differences: no reliable row without a teacher to take them to; name a row with --baseline."
        others = [row for row in students(rows) if row is not reference]
        if not others:
            return f"No differences: no other student beside {reference.label}."
        lines, above = _lines([(row.label, row, reference) for row in others])
        verdict = (
            f"Above {reference.label} in the worst case, significantly: {', '.join(above) or 'none'} (of {len(others)})."
        )
        measured = [cell for line in lines for cell in line[1:3]]
        why = [words for kind, words in EXPLAINED.items() if any(cell.endswith(kind) for cell in measured)]
        return cls([f"Method − {reference.label}", *COLUMNS], lines, [verdict, EXPLANATION, *why])

    @classmethod
    def of_ladders(cls, rows: Sequence[Row], ladders: Sequence[Sequence[str]]) -> "DifferenceTable":
        """Of each named row to the one before it in its ladder: what the one thing more is worth that it is told.

        The steps of all ladders are corrected together. Raises UserError as `rungs_of` does.
        """
        steps = [step for rungs in rungs_of(rows, ladders) for step in pairwise(rungs)]
        lines, up = _lines([(f"{a.label} → {b.label}", b, a) for a, b in steps])
        verdict = f"Steps up in the worst case, significantly: {', '.join(up) or 'none'} (of {len(lines)})."
        return cls(["Step", *COLUMNS], lines, [f"{verdict} Intervals and words as in the differences to the baseline."])

    def to_markdown(self) -> str:
        """The table, and below it what a reader has to know."""
        return "\n\n".join([markdown_table(self.header, self.lines), *map(one_line, self.notes)])


def differences_table(rows: Sequence[Row], baseline: str | None) -> str:
    """Every student against the baseline; raises UserError where no row has the baseline's name."""
    table = DifferenceTable.of(rows, baseline)
    return table if isinstance(table, str) else table.to_markdown()


def rungs_of(rows: Sequence[Row], ladders: Sequence[Sequence[str]]) -> list[list[Row]]:
    """The rows of each ladder, in its order; raises UserError for fewer than two, or no such row."""
    for names in ladders:
        if len(names) < 2:
            raise UserError(f"--ladders {','.join(names)}: expected two rows or more, separated by commas")
        if same := [name for name, after in pairwise(names) if name == after]:
            raise UserError(f"--ladders {','.join(names)}: a step from {same[0]} to itself; expected two different rows")
    return [[_named(rows, name, "--ladders") for name in names] for names in ladders]


def _lines(pairs: Sequence[tuple[str, Row, Row]]) -> tuple[list[list[str]], list[str]]:
    """A line for each name and two rows, the first minus the second, and the names of those significantly above."""
    lines, above = [], []
    worst, clean = ([difference_of(row, other, kind) for _, row, other in pairs] for kind in MEASURED)
    epochs = [_other_epoch(row, other) for _, row, other in pairs]
    doubts = [_at_chance(row, other) or epoch for (_, row, other), epoch in zip(pairs, epochs, strict=True)]
    warnings = [row.warning or other.warning for _, row, other in pairs]
    bolds = _significant(worst, map(any, zip(doubts, warnings, strict=True))), _significant(clean, map(bool, epochs))
    for (name, row, other), warning, robust, bold, doubted, plain, plain_bold, epoch in zip(
        pairs, warnings, worst, bolds[0], doubts, clean, bolds[1], epochs, strict=True
    ):
        above += [name] if bold and robust and robust.mean > 0 else []
        shown = warning or _points(robust, bold, doubted)
        lines.append([name, shown, _points(plain, plain_bold, epoch), str(len(_common(row, other))), needed(robust)])
    return lines, above


def _significant(differences: Sequence[Difference | None], doubted: Iterable[bool]) -> list[bool]:
    """Which are not 0 when corrected for all of them; none that is doubted for another reason."""
    return significant([None if doubt else one for one, doubt in zip(differences, doubted, strict=True)])


def _at_chance(a: Row, b: Row) -> str:
    return "" if a.is_above_chance and b.is_above_chance else AT_CHANCE


def _other_epoch(a: Row, b: Row) -> str:
    return OTHER_EPOCH if a.is_last != b.is_last else ""


def students(rows: Sequence[Row]) -> list[Row]:
    """The rows that compete: students, each by one checkpoint."""
    return [row for row in by_one_checkpoint(rows) if not row.is_teacher]


def reference_of(rows: Sequence[Row], baseline: str | None) -> Row | None:
    """The row that differences are taken to: that of the name, or the strongest reliable one without a teacher.

    One that lacks runs which others have is none of these: its mean may be that of the easiest fold. Raises UserError where
    no row has the baseline's name.
    """
    if baseline is not None:
        return _named(rows, baseline, "--baseline")
    undistilled = [row for row in students(rows) if row.teacher is None and row.is_above_chance and not row.warning]
    most = max((len(row.records) for row in undistilled), default=0)
    whole = [row for row in undistilled if len(row.records) == most]
    return max(whole, key=lambda row: row.mean("worst"), default=None)


def _named(rows: Sequence[Row], name: str, option: str) -> Row:
    best = {row.method: row for row in reversed(by_one_checkpoint(rows))}
    if name not in best:
        raise UserError(f"{option} {name}: no such row; expected one of {', '.join(reversed(best))}")
    return best[name]


def _points(difference: Difference | None, bold: bool, why: str = "") -> str:
    if difference is None:
        return "no seed in common"
    points = [in_points(value) for value in (difference.mean, difference.low, difference.high)]
    text = "{} [{}, {}]".format(*points)
    return f"**{text}**" if bold else f"{text} {why or decided(difference)}"
