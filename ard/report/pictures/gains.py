"""The picture of gains: what students are above the baseline, against how far their teachers are above it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ard.report.differences import SAME, difference_of, students
from ard.report.pictures.marks import MARKERS, over_runs, title
from ard.report.pictures.style import COLOURS, GREY, as_written, empty_axes, legend, save
from ard.report.rows import TEACHER_PREFIX, Row, by_one_checkpoint

LEAST = 3  # teachers of a method that make a curve
Taught = Mapping[str, Sequence[tuple[Row, Row]]]  # by method, students and each one's teacher


def taught_by_several(rows: Sequence[Row]) -> Taught:
    """Of methods whose students have three teachers or more among the rows, each student with its teacher; all reliable."""
    teachers = {row.method: row for row in by_one_checkpoint(rows) if row.is_teacher and not row.warning}
    found: dict[str, list[tuple[Row, Row]]] = {}
    for row in students(rows):
        teacher = teachers.get(f"{TEACHER_PREFIX}{row.teacher}")
        if teacher is not None and not row.warning:
            found.setdefault(row.method.removesuffix(f"-{row.teacher}"), []).append((row, teacher))
    return {method: pairs for method, pairs in found.items() if len({teacher.method for _, teacher in pairs}) >= LEAST}


@as_written
def draw_gains(taught: Taught, baseline: Row, *paths: Path) -> None:
    """Write the picture to each path: a curve for each method through its students, by their teachers' lead.

    The gain is the paired difference of a student to the baseline in the worst case, with its interval; the lead that of the
    teacher's mean. The band is ±1 point, within which two rows are called equal.
    """
    figure, axes = empty_axes(
        title([row for pairs in taught.values() for row, _ in pairs], []),
        f"worst case of the teacher − {baseline.label} (points)",
        f"worst case of the student − {baseline.label} (points)",
    )
    axes.axhspan(-100 * SAME, 100 * SAME, color="#eeeeee", zorder=0)
    axes.axvline(0, color=GREY, linewidth=0.8, linestyle=":")
    handles: list[Line2D] = []
    for k, (method, pairs) in enumerate(taught.items()):
        look: dict[str, Any] = {"color": COLOURS[k % len(COLOURS)], "marker": MARKERS[k % len(MARKERS)]}
        handles += axes.plot(*_curve(axes, pairs, baseline, look["color"]), linewidth=1, markersize=5, label=method, **look)
    runs = [row for pairs in taught.values() for row, _ in pairs]
    handles.append(Line2D([], [], color=GREY, lw=0.9, alpha=0.5, label=f"95 % interval of the difference{over_runs(runs)}"))
    legend(figure, handles)
    save(figure, *paths)


def _curve(axes: Axes, pairs: Sequence[tuple[Row, Row]], baseline: Row, colour: str) -> tuple[list[float], list[float]]:
    """Leads, from the least, and gains in points, of whom both have runs in common; draws intervals and teachers' names."""
    leads, gains = [], []
    for row, teacher in sorted(pairs, key=lambda pair: pair[1].mean("worst")):
        if (gain := difference_of(row, baseline, "worst")) is None:
            continue
        leads.append(100 * (teacher.mean("worst") - baseline.mean("worst")))
        gains.append(100 * gain.mean)
        axes.plot([leads[-1]] * 2, [100 * gain.low, 100 * gain.high], color=colour, linewidth=0.9, alpha=0.5)
        name, place = teacher.method.removeprefix(TEACHER_PREFIX), (leads[-1], gains[-1])
        axes.annotate(name, place, (4, 4), textcoords="offset points", fontsize=7, color=colour)
    return leads, gains
