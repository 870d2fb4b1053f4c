"""The picture of gains: what students are above others, against how far their teachers are ahead."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ard.core.statistics import Difference
from ard.report.differences import SAME, difference_of, students
from ard.report.pictures.marks import MARKERS, title
from ard.report.pictures.style import COLOURS, GREY, as_written, empty_axes, legend, save
from ard.report.rows import TEACHER_PREFIX, Row, by_one_checkpoint

AT_THE_TOP: Any = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "fontsize": 7}
LEAST = 3  # teachers of a method that make a curve
Taught = Mapping[str, Sequence[tuple[Row, Row]]]  # by method, students and each one's teacher


class Gain(NamedTuple):
    """What a student is above another, as a share, and how far its teacher is ahead; by name."""

    lead: float
    difference: Difference
    name: str


Curves = Mapping[str, Sequence[Gain]]  # by what the legend calls them


def taught_by_several(rows: Sequence[Row]) -> Taught:
    """Of methods whose students have three teachers or more among the rows, each student with its teacher; all reliable."""
    teachers = {row.method: row for row in by_one_checkpoint(rows) if row.is_teacher and not row.warning}
    found: dict[str, list[tuple[Row, Row]]] = {}
    for row in students(rows):
        teacher = teachers.get(f"{TEACHER_PREFIX}{row.teacher}")
        if teacher is not None and not row.warning:
            found.setdefault(row.method.removesuffix(f"-{row.teacher}"), []).append((row, teacher))
    return {method: pairs for method, pairs in found.items() if len({teacher.method for _, teacher in pairs}) >= LEAST}


def gains_of(taught: Taught, baseline: Row) -> Curves:
    """A curve for each method through its students, by their teachers' lead over the baseline, of whom both have runs."""
    return {method: [gain for pair in pairs if (gain := _gain(*pair, baseline))] for method, pairs in taught.items()}


def _gain(row: Row, teacher: Row, baseline: Row) -> Gain | None:
    difference = difference_of(row, baseline, "worst")
    lead = teacher.mean("worst") - baseline.mean("worst")
    return None if difference is None else Gain(lead, difference, teacher.method.removeprefix(TEACHER_PREFIX))


@as_written
def draw_gains(curves: Curves, rows: Sequence[Row], leader: str, follower: str, *paths: Path) -> None:
    """Write the picture to each path: the gains of each curve against leads, in points, with their intervals.

    The band is ±1 point, within which two rows are called equal. `leader` and `follower` are what the axes are of, the title
    is of the rows.
    """
    figure, axes = empty_axes(title(rows, []), f"worst case of {leader} (points)", f"worst case of {follower} (points)")
    axes.axhspan(-100 * SAME, 100 * SAME, color="#eeeeee", zorder=0)
    axes.axvline(0, color=GREY, linewidth=0.8, linestyle=":")
    handles: list[Line2D] = []
    for k, (label, gains) in enumerate(curves.items()):
        look: dict[str, Any] = {"color": COLOURS[k % len(COLOURS)], "marker": MARKERS[k % len(MARKERS)]}
        handles += axes.plot(*_curve(axes, gains, look["color"]), linewidth=1, markersize=5, label=label, **look)
    handles.append(Line2D([], [], color=GREY, lw=0.9, alpha=0.5, label="95 % interval of the difference"))
    for lead, name in sorted({(100 * gain.lead, gain.name) for gains in curves.values() for gain in gains}):
        axes.annotate(name, (lead, 1), (1, -8), **AT_THE_TOP)
    legend(figure, handles)
    save(figure, *paths)


def _curve(axes: Axes, gains: Sequence[Gain], colour: str) -> tuple[list[float], list[float]]:
    """Leads, from the least, and gains in points; draws the intervals."""
    ordered = sorted(gains, key=lambda gain: gain.lead)
    leads, means = [100 * gain.lead for gain in ordered], [100 * gain.difference.mean for gain in ordered]
    for gain in ordered:
        ends = [100 * gain.difference.low, 100 * gain.difference.high]
        axes.plot([100 * gain.lead] * 2, ends, color=colour, linewidth=0.9, alpha=0.5)
    return leads, means
