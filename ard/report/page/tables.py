"""Tables of the page: cells with what they are sorted by, and those of ard.report as they are."""

from collections.abc import Sequence
from dataclasses import dataclass

from ard.artifacts.record import Record
from ard.core.statistics import known_mean, wilson_interval
from ard.core.text import DASH, duration
from ard.report.differences import DifferenceTable
from ard.report.evidence_card import setting_in_words
from ard.report.rows import Row
from ard.report.table import AccuracyColumn, Column, columns, training_seconds

BOLD = "**"  # around what is significant, in the cells of Markdown


@dataclass(frozen=True)
class Cell:
    """What is read, what it is sorted by (None: always last), its interval, and how it looks.

    `share` in [0, 1] draws a bar; `verdict` is that of a check.
    """

    text: str
    sort: float | str | None = None
    interval: str = ""
    strong: bool = False
    share: float | None = None
    verdict: str = ""
    links: tuple[tuple[str, str], ...] = ()  # words and addresses relative to the page

    @classmethod
    def number(cls, value: float, text: str = "") -> "Cell":
        """A number, in four digits where no text is given."""
        return cls(text or (f"{value:,}" if isinstance(value, int) else f"{value:.4g}").replace("-", "−"), float(value))

    @classmethod
    def percent(cls, accuracy: float, n: int, *, bar: bool = False) -> "Cell":
        """An accuracy over n images with its Wilson interval."""
        interval = _interval(*wilson_interval(accuracy, n)) if n else ""
        return cls(f"{100 * accuracy:.1f}", float(accuracy), interval, share=accuracy if bar else None)


@dataclass(frozen=True)
class Table:
    """A header and rows; the first cell of a row names it."""

    header: list[str]
    rows: Sequence[list[Cell]]
    kinds: Sequence[str] = ()  # words for the looks of the rows


def main_table_of(rows: Sequence[Row], differ: Sequence[str]) -> Table:
    """The table of `ard compare`: accuracies in percent with 95 % intervals over images and seeds."""
    shown = [column for column in columns(rows, differ) if column.name]
    cells = [[_cell(column, row) for column in shown] for row in rows]
    kinds = [" ".join(["teacher"] * row.is_teacher + ["last"] * row.is_last) for row in rows]
    return Table([column.name for column in shown], cells, kinds)


def difference_table_of(table: DifferenceTable) -> Table:
    """What `ard compare` says of differences, significant ones in bold."""
    lines = []
    for name, *differences, runs, needed in table.lines:
        lines.append([Cell(name), *map(_difference, differences), Cell(runs, float(runs)), Cell(needed)])
    return Table(table.header, lines)


def cost_table(rows: Sequence[Row]) -> Table:
    """What every row took: mean over the seeds of which it is known."""
    lines = []
    for row in rows:
        facts = [record.training for record in row.records if record.training]
        seconds, evaluation = training_seconds(row), known_mean(record.seconds for record in row.records)
        pflop, speed = known_mean(fact.pflop for fact in facts), known_mean(fact.images_per_s for fact in facts)
        lines.append(
            [
                Cell(row.label, row.label),
                Cell.number(row.first.params),
                Cell.number(row.first.macs),
                _known(seconds, duration(seconds)),
                _known(speed, "" if speed is None else f"{speed:,.0f}"),
                _known(pflop, "" if pflop is None else f"{pflop:.3g}"),
                Cell(", ".join(dict.fromkeys(fact.device for fact in facts)) or DASH),
                _known(evaluation, duration(evaluation)),
            ]
        )
    header = ["Method", "weights", "multiplications", "training time", "images/s", "PFLOP", "device", "evaluation"]
    return Table(header, lines)


def checks_table(record: Record) -> Table:
    """Every check by its name, those that failed first."""
    order = ("fail", "warn", "skipped", "pass")
    lines = []
    for check in sorted(record.checks, key=lambda check: order.index(check.verdict)):
        numbers = [Cell(setting_in_words("", number), _sortable(number)) for number in (check.value, check.threshold)]
        verdict = Cell(check.verdict, float(order.index(check.verdict)), verdict=check.verdict)
        lines.append([Cell(check.name, check.name), verdict, *numbers, Cell(check.reason or DASH)])
    return Table(["Check", "verdict", "value", "threshold", "reason"], lines)


def classes_table(record: Record) -> Table:
    """Accuracies of every class, with bars; the warning in place of robust ones where a check failed."""
    lines = []
    for one in record.per_class:
        robust = Cell(record.warning) if record.warning else Cell.percent(one.robust_acc, one.n, bar=True)
        lines.append([Cell(one.name, one.name), Cell.number(one.n), Cell.percent(one.clean_acc, one.n, bar=True), robust])
    return Table(["Class", "images", "clean (%)", "robust (%)"], lines)


def _cell(column: Column, row: Row) -> Cell:
    text, value = column.cell(row), column.value(row)
    if not isinstance(column, AccuracyColumn):
        return Cell(text, float(value) if isinstance(value, int | float) else text)
    if not value or (column.robust and row.warning):
        return Cell(text)
    interval = _interval(*row.interval(value))
    return Cell(text.strip("*"), row.average(value), interval, strong=text.startswith(BOLD))


def _difference(text: str) -> Cell:
    """The cell of Markdown: +1.2 [−0.4, +2.8] n.s."""
    plain = text.strip("*")
    try:
        return Cell(plain, float(plain.partition(" ")[0].replace("−", "-")), strong=text.startswith(BOLD))
    except ValueError:
        return Cell(plain)


def _interval(low: float, high: float) -> str:
    return f"{100 * low:.1f} to {100 * high:.1f}"


def _sortable(value: float | None) -> float | None:
    return None if value is None or isinstance(value, bool) else float(value)


def _known(value: float | None, text: str) -> Cell:
    return Cell(DASH) if value is None else Cell(text, float(value))
