"""The table of published numbers and ours, for readers and as columns of the CSV file."""

from collections.abc import Callable, Sequence
from typing import Any

from ard.core.text import DASH, in_points, markdown_table
from ard.report.published import CLEAN, MET, Entry, Gap, Match, matches, met
from ard.report.rows import Row
from ard.report.table import AUTOATTACK, Column

NOTHING = (
    "Published numbers: no row has one to be compared with. One row and one entry of configs/published.yaml must agree in "
    "recipe, data, network, eps, checkpoint and an attack."
)
EXPLANATION = (
    "Published accuracy and ours in percent, their difference in points and, in brackets, in standard errors: of our test "
    "images, of our seeds ({tolerance} points where there is one) and of the published number (over its seeds, else "
    "{tolerance} points), added in squares. Schedules, versions and teachers may differ. Met: all test images, AutoAttack "
    "where it was published, a teacher of that architecture, and every difference within "
    f"{MET} standard errors."
)


def published_part(rows: Sequence[Row], known: Sequence[Entry]) -> str:
    """Every student's row beside each number that it may be compared with, a dash where there is none, and which are met."""
    found = matches(rows, known)
    if not found:
        return NOTHING
    names, reached = _measures(found), met(found, rows)
    header = ["Method", *("Clean" if name == CLEAN else name for name in names), "Met", "Published in"]
    lines = []
    for row in (row for row in rows if not row.is_teacher):
        pairs = [pair for pair in found if pair.row is row]
        lines += [_line(pair, names, pair in reached) for pair in pairs]
        lines += [] if pairs else [[row.label, *[DASH] * len(names), DASH, row.warning or DASH]]
    return "\n\n".join([markdown_table(header, lines), EXPLANATION.format(tolerance=f"{100 * known[0].tolerance:g}")])


def published_columns(rows: Sequence[Row], known: Sequence[Entry]) -> list[Column]:
    """For the CSV file, as fractions: of each row the first number in the file that it may be compared with."""
    found = matches(rows, known)
    columns = [Column("", lambda row: pair.entry.words if (pair := _first(row, found)) else None, csv="published in")]
    parts: dict[str, Callable[[Gap], Any]] = {
        "published": lambda gap: gap.published,
        "difference": lambda gap: gap.difference,
        "standard errors": lambda gap: gap.errors,
    }
    for name in _measures(found):
        columns += [Column("", _reading(found, name, read), csv=f"{name} {part}") for part, read in parts.items()]
    return columns


def _first(row: Row, found: Sequence[Match]) -> Match | None:
    return next((pair for pair in found if pair.row is row), None)


def _reading(found: Sequence[Match], name: str, read: Callable[[Gap], Any]) -> Callable[[Row], Any]:
    def value(row: Row) -> Any:
        pair = _first(row, found)
        return read(pair.gaps[name]) if pair and name in pair.gaps else None

    return value


def _measures(found: Sequence[Match]) -> list[str]:
    """Clean first, AutoAttack last."""
    names = dict.fromkeys(name for pair in found for name in pair.gaps)
    return sorted(names, key=lambda name: (name == AUTOATTACK, name != CLEAN))


def _line(pair: Match, names: Sequence[str], is_met: bool) -> list[str]:
    accuracies = [_cell(pair.gaps.get(name)) for name in names]
    return [pair.row.label, *accuracies, "yes" if is_met else "no", pair.entry.words]


def _cell(gap: Gap | None) -> str:
    if gap is None:
        return DASH
    both = f"{100 * gap.published:.1f}, ours {100 * gap.ours:.1f}"
    return f"{both}: {in_points(gap.difference)} ({gap.errors:+.1f})".replace("-", "−")
