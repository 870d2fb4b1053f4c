"""Knobs that were swept: one line a knob through clean and worst-case accuracy, and both at matched clean accuracy."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from ard.core.text import markdown_table
from ard.report.knobs import Knob, knobs_of
from ard.report.pictures.labels import place_labels
from ard.report.pictures.marks import MARKERS, TEACHER_MARK, Mark, bars, marks_of, title
from ard.report.pictures.style import COLOURS, GREY, as_written, empty_axes, legend, save, settle_layout
from ard.report.rows import Row, by_one_checkpoint


@as_written
def draw_frontier(rows: Sequence[Row], differ: Sequence[str], *paths: Path) -> None:
    """Write the picture to each path: the students of every knob, joined in the order of its values."""
    figure, axes = empty_axes(title(rows, differ), "clean accuracy (%)", "worst-case accuracy (%)")
    handles, values = [], []
    for k, knob in enumerate(knobs_of(rows)):
        colour, marker = COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)]
        marks = marks_of([row for _, row in knob.rows], differ)
        points = np.array([mark.point for mark in marks])
        axes.plot(points[:, 0], points[:, 1], color=colour, marker=marker, linewidth=1, markersize=5, zorder=4)
        for (value, _), mark in zip(knob.rows, marks, strict=True):
            _draw_bars(axes, mark, colour)
            values.append((f"{value:.3g}", mark.point, colour))
        handles.append(Line2D([], [], color=colour, marker=marker, lw=1, ms=5, label=knob.label))
    teachers = marks_of([row for row in by_one_checkpoint(rows) if row.is_teacher], differ)
    for mark in teachers:
        axes.plot(*mark.point, TEACHER_MARK[1], color=TEACHER_MARK[0], markersize=10, zorder=3)
        handles.append(Line2D([], [], color=TEACHER_MARK[0], marker=TEACHER_MARK[1], ls="", ms=8, label=mark.label))
    legend(figure, [*handles, Line2D([], [], color=GREY, lw=1, alpha=0.3, label=bars(rows))])
    settle_layout(figure)  # values are placed in pixels
    obstacles = axes.transData.transform([point for _, point, _ in values] + [mark.point for mark in teachers])
    place_labels(axes, values, [Bbox([place, place]).padded(4 * figure.dpi / 72) for place in obstacles])
    save(figure, *paths)


def matched_table(rows: Sequence[Row]) -> str:
    """The most robust setting of every knob among those that are at least so accurate on clean images."""
    knobs = knobs_of(rows)
    clean = [100 * row.mean("clean") for knob in knobs for _, row in knob.rows]
    levels = np.unique(np.floor(np.quantile(clean, [0, 0.25, 0.5, 0.75]) * 10) / 10)
    lines = [[f"{level:.1f}", *(_best(knob, level) for knob in knobs)] for level in levels]
    return markdown_table(["clean at least", *(knob.label for knob in knobs)], lines) + (
        "\n\nWorst-case accuracy of each knob's most robust setting (in brackets) among those with at least that clean "
        "accuracy. The settings are chosen on the test images that they are measured on, for every method alike: this "
        "shows what the knobs reach, and selects nothing."
    )


def _best(knob: Knob, level: float) -> str:
    fitting = [
        (100 * row.mean("worst"), value)
        for value, row in knob.rows
        if row.is_above_chance and 100 * row.mean("clean") >= level
    ]
    if not fitting:
        return "none"
    accuracy, value = max(fitting, key=lambda pair: pair[0])
    return f"{accuracy:.1f} ({value:.3g})"


def _draw_bars(axes: Axes, mark: Mark, colour: str) -> None:
    (x, x_low, x_high), (y, y_low, y_high) = mark.clean, mark.worst
    for xs, ys in (([x_low, x_high], [y, y]), ([x, x], [y_low, y_high])):
        axes.plot(xs, ys, color=colour, alpha=0.25, linewidth=0.8, zorder=2)
