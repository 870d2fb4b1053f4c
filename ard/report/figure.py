"""The trade-off picture: clean against worst-case accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from ard.report.labels import place_labels
from ard.report.records import Row
from ard.report.style import COLOURS, GREY, empty_axes, legend
from ard.report.table import shared_settings
from ard.statistics import paired_difference

MARKERS = "osD^vP"
TEACHER = ("#333333", "*")


@dataclass(frozen=True)
class Mark:
    """One row in the picture: accuracies in percent as (mean, low, high)."""

    name: str
    clean: tuple[float, float, float]
    worst: tuple[float, float, float]
    colour: str
    marker: str
    hollow: bool

    @property
    def point(self) -> tuple[float, float]:
        return self.clean[0], self.worst[0]


def draw(rows: Sequence[Row], differ: Sequence[str], path: Path) -> str:
    """Write the picture to `path` and return its caption; rows without reliable robust numbers are left out."""
    shared = shared_settings(rows, differ)
    title = ", ".join(shared[key] for key in ("dataset", "threat") if key in shared)
    figure, axes = empty_axes(title, "clean accuracy (%)", "worst-case accuracy (%)")
    marks = _marks([row for row in rows if not row.warning], differ)
    for mark in marks:
        _draw_mark(axes, mark, marks)
    seeds = " and seeds" if any(len(row.records) > 1 for row in rows) else ""
    bars = f"95 % bootstrap interval over test images{seeds}"
    _draw_legend(figure, bars)
    figure.draw_without_rendering()  # labels are placed in pixels, so the layout must stand
    _label(axes, marks)
    figure.savefig(path)
    left_out = ", ".join(row.label for row in rows if row.warning)
    return f"Error bars: {bars}." + (f" Left out as unreliable: {left_out}." if left_out else "")


def _marks(rows: Sequence[Row], differ: Sequence[str]) -> list[Mark]:
    names = [", ".join([row.method, *(row.records[0].settings[key] for key in differ)]) for row in rows]
    methods = list(dict.fromkeys(name for name, row in zip(names, rows, strict=True) if not row.is_teacher))
    marks = []
    for name, row in zip(names, rows, strict=True):
        k = 0 if row.is_teacher else methods.index(name)
        colour, marker = TEACHER if row.is_teacher else (COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)])
        clean, worst = _interval(row.bits("clean")), _interval(row.bits("worst"))
        marks.append(Mark(name, clean, worst, colour, marker, row.is_last))
    return marks


def _interval(bits: np.ndarray) -> tuple[float, float, float]:
    accuracy = paired_difference(bits, np.zeros_like(bits))
    return 100 * accuracy.mean, 100 * accuracy.low, 100 * accuracy.high


def _draw_mark(axes: Axes, mark: Mark, marks: Sequence[Mark]) -> None:
    (x, x_low, x_high), (y, y_low, y_high) = mark.clean, mark.worst
    alpha = 0.25 if mark.hollow else 0.5
    axes.plot([x_low, x_high], [y, y], color=mark.colour, alpha=alpha, linewidth=0.9, zorder=2)
    axes.plot([x, x], [y_low, y_high], color=mark.colour, alpha=alpha, linewidth=0.9, zorder=2)
    face, size = "white" if mark.hollow else mark.colour, 11 if mark.marker == "*" else 6
    axes.plot(x, y, mark.marker, color=mark.colour, markerfacecolor=face, markersize=size, zorder=5 - mark.hollow)
    best = next((other for other in marks if other.name == mark.name and not other.hollow), mark)
    axes.plot([x, best.point[0]], [y, best.point[1]], ":", color=mark.colour, linewidth=0.9, zorder=3)


def _draw_legend(figure: Figure, bars: str) -> None:
    handles = []
    for marker, face, label in ("*", None, "teacher"), ("o", None, "best checkpoint"), ("o", "w", "last checkpoint"):
        handles.append(Line2D([], [], color=GREY, ls="", marker=marker, markerfacecolor=face, ms=6, label=label))
    handles.append(Line2D([], [], color=GREY, ls="", marker="|", ms=9, label=bars))
    legend(figure, handles)


def _label(axes: Axes, marks: Sequence[Mark]) -> None:
    """One name a method, at its best checkpoint; names keep off the marks and, where they can, off the bars."""
    scale = axes.figure.dpi / 72
    obstacles = []
    for mark in marks:
        (x, x_low, x_high), (y, y_low, y_high) = mark.clean, mark.worst
        for low, high, width in (((x_low, y), (x_high, y), 1), ((x, y_low), (x, y_high), 1), ((x, y), (x, y), 5)):
            obstacles.append(Bbox(axes.transData.transform([low, high])).padded(width * scale))
    best = {mark.name: mark for mark in sorted(marks, key=lambda mark: not mark.hollow)}
    place_labels(axes, [(_short(name), mark.point, mark.colour) for name, mark in best.items()], obstacles)


def _short(name: str) -> str:
    """teachers/robust -> robust (teacher): a student may have the same name."""
    return f"{name.removeprefix('teachers/')} (teacher)" if name.startswith("teachers/") else name
