"""The trade-off picture: clean against worst-case accuracy."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from ard.report.pictures.labels import place_labels
from ard.report.pictures.marks import Mark, bars, marks_of, title
from ard.report.pictures.style import GREY, empty_axes, legend, save
from ard.report.rows import Row


def draw_tradeoff(rows: Sequence[Row], differ: Sequence[str], path: Path) -> None:
    """Write the picture to `path`; rows without reliable robust numbers are left out."""
    figure, axes = empty_axes(title(rows, differ), "clean accuracy (%)", "worst-case accuracy (%)")
    marks = marks_of(rows, differ)
    for mark in marks:
        _draw_mark(axes, mark, marks)
    _draw_legend(figure, bars(rows))
    figure.draw_without_rendering()  # labels are placed in pixels, so the layout must stand
    _label(axes, marks)
    save(figure, path)


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
    place_labels(axes, [(mark.label, mark.point, mark.colour) for mark in best.values()], obstacles)
