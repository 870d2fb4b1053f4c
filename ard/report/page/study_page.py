"""The page of a study: every run beside the others, and a link to each run's own page."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ard.artifacts.paths import RunFolder
from ard.report.comparison import Comparison
from ard.report.differences import DifferenceTable
from ard.report.knobs import knobs_of
from ard.report.page.charts import (
    Chart,
    Legend,
    Line,
    Look,
    PlacedMark,
    Point,
    across,
    cut,
    height_of,
    kept_apart,
    listed,
    upwards,
)
from ard.report.page.inside import students_side_by_side
from ard.report.page.learning import curves_over_each_other
from ard.report.page.run_page import title_of
from ard.report.page.stored_run import StoredRun
from ard.report.page.tables import Table, cost_table, difference_table_of, main_table_of
from ard.report.pictures.marks import bars, over_runs, title
from ard.report.rows import Row
from ard.report.table import rehearsed_line, settings_line

STEP, NAMES = 17, 128  # pixels of a row of the ranking, and of the names before it
LONGEST = 19  # characters of a name there
MANY = 24  # marks that would hide one another: then intervals are faint, and last checkpoints only in the ranking
TALL = 340  # pixels of the plane of all methods


@dataclass(frozen=True)
class Placed:
    """A reliable row in the pictures: its name, look, and accuracies in percent as (mean, low, high)."""

    name: str  # with the settings in which records differ, without the checkpoint
    row: Row
    look: Look
    clean: tuple[float, float, float]
    worst: tuple[float, float, float]

    @property
    def words(self) -> str:
        numbers = (f"{kind} {of[0]:.1f} % [{of[1]:.1f}, {of[2]:.1f}]" for kind, of in self.both.items())
        return f"{self.name}{' (last)' if self.row.is_last else ''}: {', '.join(numbers)}"

    @property
    def both(self) -> dict[str, tuple[float, float, float]]:
        return {"clean": self.clean, "worst case": self.worst}


def study_context(folder: Path, runs: Sequence[StoredRun], compared: Comparison | None) -> dict[str, Any]:
    """Everything that templates/study.html shows of a study; `compared` is None where nothing was evaluated."""
    rows = compared.rows if compared else []
    looks = looks_of(rows)
    curves = curves_over_each_other(_curves(rows, looks, runs))
    names = [_from(folder, run.folder.root).as_posix() for run in runs]
    links = [(name, _address(folder, run.folder.root), title_of(run)) for name, run in zip(names, runs, strict=True)]
    return {
        "title": folder.resolve().name,
        "subtitle": f"a study of {len(runs)} run{'s' if len(runs) > 1 else ''}",
        "runs": links,
        "curves": curves,
        "without_curves": [name for name, run in zip(names, runs, strict=True) if not run.metrics],
        "entries": _legend(rows, looks),
        **(_compared(folder, compared, looks) if compared else {"main": None, "pictures": []}),
    }


def looks_of(rows: Sequence[Row]) -> dict[str, Look]:
    """One look a method, by the names of rows: the same in every picture; teachers look alike."""
    methods = list(dict.fromkeys(_method(row) for row in rows if not row.is_teacher))
    looks: dict[str, Look] = {}
    for k, row in enumerate(rows):
        if row.is_teacher:
            looks.setdefault(row.method, Look("teacher", "star", key=f"teacher{k}"))
        else:
            number = methods.index(_method(row))
            looks[row.method] = Look.numbered(number, key=f"method{number}")
    return looks


def placed(rows: Sequence[Row], differ: Sequence[str], looks: Mapping[str, Look]) -> list[Placed]:
    """The rows whose robust numbers may be shown."""
    return [
        Placed(
            row.among(differ),
            row,
            looks[row.method],
            row.percent("clean"),
            row.percent("worst"),
        )
        for row in rows
        if not row.warning
    ]


def tradeoff(places: Sequence[Placed], note: str) -> Chart:
    """Clean against worst-case accuracy; a method whose knob was swept is a line through its settings."""
    note += " A mark that would cover another one is moved aside and joined to its place by a line."
    if len(places) > MANY and (selected := [one for one in places if not one.row.is_last]):
        places, note = selected, f"{note} Last checkpoints: in the ranking."
    marks = [
        PlacedMark(one.clean[0], one.worst[0], one.words, one.look, one.clean[1:], one.worst[1:], one.row.is_last)
        for one in sorted(places, key=lambda one: one.row.is_last)
    ]
    x = across("clean accuracy (%)", [x for one in places for x in one.clean])
    y = upwards("worst-case accuracy (%)", [y for one in places for y in one.worst], height=TALL)
    chart = Chart(
        "Clean and worst-case accuracy",
        cut(x, [one.clean[1:] for one in places]),
        cut(y, [one.worst[1:] for one in places]),
        note=note,
        summary="The numbers are in the table.",
        marks=marks,
        lines=_knobs(places),
        height=TALL,
        faint=len(places) > MANY,
    )
    apart = kept_apart(chart)
    return replace(apart, marks=apart.marks[::-1])  # the first, which keep their places, are drawn on top


def ranking(places: Sequence[Placed], note: str) -> Chart:
    """A line a method, the most robust first: worst case (filled), clean (diamond) and their intervals."""
    best = {one.name: one for one in sorted(places, key=lambda one: not one.row.is_last)}
    order = sorted(best.values(), key=lambda one: (not one.row.is_above_chance, -one.worst[0]))
    at = {one.name: float(k) for k, one in enumerate(order)}
    marks = []
    for one in _best_on_top(places):
        for kind, (middle, low, high) in one.both.items():
            look = Look(one.look.tone, "circle" if kind == "worst case" else "diamond", key=one.look.key)
            interval: Point | None = None if one.row.is_last else (low, high)
            marks.append(PlacedMark(middle, at[one.name], one.words, look, interval, None, one.row.is_last))
    ends = [kind[1:] for one in places for kind in one.both.values()]
    x = across("accuracy (%): ● worst case, ◆ clean", [end for pair in ends for end in pair], left=NAMES)
    return Chart(
        "Ranking",
        cut(x, ends),
        listed([_short(one.name) for one in order], STEP),
        note=note,
        summary="The numbers are in the table.",
        height=height_of(len(order), STEP),
        left=NAMES,
        marks=marks,
    )


def _best_on_top(places: Sequence[Placed]) -> list[Placed]:
    """In the order in which they are drawn: teachers and selected checkpoints last."""
    backwards = places[::-1]
    return sorted(backwards, key=lambda one: not one.row.is_last)


def _compared(folder: Path, compared: Comparison, looks: Mapping[str, Look]) -> dict[str, Any]:
    rows, differ = compared.rows, compared.differ
    lines = [rehearsed_line(rows), settings_line(rows, differ), *compared.notes]
    left_out = ", ".join(row.label for row in rows if row.warning)
    places, note = placed(rows, differ, looks), f"{title(rows, differ)}. Lines through marks: {bars(rows)}."
    return {
        "main": _table(folder, compared),
        "lines": [line for line in lines if line],
        "unreliable": f"Left out of the pictures as unreliable: {left_out}." if left_out else "",
        "pictures": [tradeoff(places, note), ranking(places, note)] if places else [],
        **_differences(compared),
        "inside": students_side_by_side(rows, differ),
        "over_runs": over_runs(rows),
        "cost": cost_table([row for row in rows if not row.is_last] or rows),
    }


def _differences(compared: Comparison) -> dict[str, Any]:
    if compared.differ:
        return {"differences": None, "notes": [f"No differences: the records differ in {', '.join(compared.differ)}."]}
    found = DifferenceTable.of(compared.rows, compared.baseline)
    if isinstance(found, str):
        return {"differences": None, "notes": [found]}
    return {"differences": difference_table_of(found), "notes": found.notes}


def _table(folder: Path, compared: Comparison) -> Table:
    """The main table with links to the pages of every row's runs."""
    table = main_table_of(compared.rows, compared.differ)
    for row, cells in zip(compared.rows, table.rows, strict=True):
        links = ((m.record.repetition.words, _address(folder, m.path.parent)) for m in row.members)
        cells[0] = replace(cells[0], links=tuple(links))
    return table


def _address(folder: Path, run: Path) -> str:
    """Of a run's page, from the page of the study; a name with a colon is no protocol in it."""
    return quote(RunFolder(_from(folder, run)).report.as_posix())


def _from(folder: Path, run: Path) -> Path:
    """A run's folder as the page finds it, which may not be below its own."""
    return Path(os.path.relpath(run, folder))


def _curves(rows: Sequence[Row], looks: Mapping[str, Look], runs: Sequence[StoredRun]) -> list[tuple[str, Look, Any, bool]]:
    """The runs with a metrics.csv, in the looks of their rows; those that nobody evaluated are plain."""
    of = {member.path.parent: looks[row.method] for row in rows for member in row.members}
    return [
        (title_of(run), of.get(run.folder.root, Look("plain")), run.metrics, not run.warning) for run in runs if run.metrics
    ]


def _legend(rows: Sequence[Row], looks: Mapping[str, Look]) -> list[Legend]:
    names = {looks[row.method]: row.method if row.is_teacher else _method(row) for row in rows}
    return [Legend(name, look) for look, name in names.items()]


def _knobs(places: Sequence[Placed]) -> list[Line]:
    """A line through the best checkpoints of a method one of whose settings was swept, in the order of that."""
    looks = {one.row.method: one.look for one in places}
    lines = []
    for knob in knobs_of([one.row for one in places if not one.row.is_last], least=1):
        rows = [row for _, row in knob.rows]
        points = tuple((100 * row.mean("clean"), 100 * row.mean("worst")) for row in rows)
        lines.append(Line(f"{knob.method}, {knob.name} swept", points, looks[rows[0].method]))
    return lines


def _method(row: Row) -> str:
    """Without the setting that was swept."""
    run = row.first.run
    return row.method if run is None or not run.swept else run.method


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
