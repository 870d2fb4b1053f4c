"""Paired differences between rows: which method is significantly best, and how far each is from a baseline."""

from collections.abc import Sequence

from ard.core.errors import UserError
from ard.core.statistics import Difference, paired_difference
from ard.core.text import in_points
from ard.report.rows import Kind, Row

EXPLANATION = (
    "Differences in points, row − baseline, with paired bootstrap 95 % intervals (2000 resamples of test images and, "
    "where there are several, of seeds). Bold: the interval excludes 0; n.s.: it does not. Each interval is for its "
    "row alone: not corrected for the number of rows, nor for choosing the best of them."
)


def difference_of(a: Row, b: Row, kind: Kind) -> Difference | None:
    """The paired difference of verdicts over the seeds that both rows have; None without any."""
    seeds = {record.training_seed for record in a.records} & {record.training_seed for record in b.records}
    return paired_difference(a.bits(kind, seeds), b.bits(kind, seeds)) if seeds else None


def leader(rows: Sequence[Row], kind: Kind) -> tuple[Row, bool] | None:
    """The best student by its best checkpoint, and whether it is significantly above the next; None without a rival."""
    rivals = [row for row in students(rows) if not (kind == "worst" and row.warning)]
    if len(rivals) < 2:
        return None
    first, second = sorted(rivals, key=lambda row: -row.mean(kind))[:2]
    difference = difference_of(first, second, kind)
    return first, difference is not None and difference.low > 0


def differences_table(rows: Sequence[Row], baseline: str | None) -> str:
    """Every student's best checkpoint against the baseline's; raises UserError where no row has the baseline's name."""
    reference = _reference(rows, baseline)
    if reference is None:
        return "No differences: no reliable row without a teacher to take them to; name a row with --baseline."
    others = [row for row in students(rows) if row is not reference]
    if not others:
        return f"No differences: no other student beside {reference.label}."
    lines = [f"| Method − {reference.label} | Worst | Clean | paired seeds |", "| --- | --- | --- | --- |"]
    above = []
    for row in others:
        worst, clean = difference_of(row, reference, "worst"), difference_of(row, reference, "clean")
        above += [row.label] if worst and worst.low > 0 and not row.warning else []
        shown = row.warning or reference.warning or _points(worst)
        lines.append(f"| {row.label} | {shown} | {_points(clean)} | {clean.seeds if clean else 0} |")
    verdict = f"Above {reference.label} in the worst case, significantly: {', '.join(above) or 'none'} (of {len(others)})."
    return "\n\n".join(["\n".join(lines), verdict, EXPLANATION])


def students(rows: Sequence[Row]) -> list[Row]:
    """The rows that compete: best checkpoints of students."""
    return [row for row in rows if not row.is_teacher and not row.is_last]


def _reference(rows: Sequence[Row], baseline: str | None) -> Row | None:
    best = [row for row in rows if not row.is_last]
    if baseline is not None:
        matching = [row for row in best if row.method == baseline]
        if not matching:
            known = ", ".join(row.method for row in best)
            raise UserError(f"--baseline {baseline}: no such row; expected one of {known}")
        return matching[0]
    undistilled = [row for row in students(rows) if row.teacher is None and not row.warning]
    return max(undistilled, key=lambda row: row.mean("worst"), default=None)


def _points(difference: Difference | None) -> str:
    if difference is None:
        return "no seed in common"
    points = [in_points(value) for value in (difference.mean, difference.low, difference.high)]
    text = "{} [{}, {}]".format(*points)
    return f"**{text}**" if difference.significant else f"{text} n.s."
