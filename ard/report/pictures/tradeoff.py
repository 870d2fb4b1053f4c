"""The trade-off picture: clean against worst-case accuracy."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from ard.report.pictures.apart import apart
from ard.report.pictures.breaks import spans, stacked
from ard.report.pictures.labels import place_labels
from ard.report.pictures.marks import Mark, bars, marks_of, title
from ard.report.pictures.style import GREY, as_written, empty_figure, legend, save, settle_layout
from ard.report.rows import Row

KEPT_APART = 7.5  # points between the middles of two marks


@as_written
def draw_tradeoff(rows: Sequence[Row], differ: Sequence[str], *paths: Path) -> None:
    """Write the picture to each path; rows without reliable robust numbers are left out.

    Where nobody is between those that withstand attacks and those that do not, that part of the axis is left out.
    """
    marks = sorted(marks_of(rows, differ), key=lambda mark: mark.hollow)
    figure = empty_figure(title(rows, differ))
    panels = stacked(figure, spans([mark.worst[1:] for mark in marks]))
    panels[0].set_xlabel("clean accuracy (%)")
    max(panels, key=lambda axes: np.ptp(axes.get_ylim())).set_ylabel("worst-case accuracy (%)")
    _draw_legend(figure, bars(rows))
    for axes in panels:
        _draw_bars(axes, marks)
    settle_layout(figure)  # marks and labels are placed in pixels
    for axes in panels:
        low, high = axes.get_ylim()
        _draw_marks(axes, [mark for mark in marks if low <= mark.worst[0] <= high])
    save(figure, *paths)


def _draw_bars(axes: Axes, marks: Sequence[Mark]) -> None:
    """The intervals, which cross at the exact place, and a line from a method's best checkpoint to its last."""
    for mark in marks:
        (x, x_low, x_high), (y, y_low, y_high) = mark.clean, mark.worst
        alpha = 0.25 if mark.hollow else 0.5
        axes.plot([x_low, x_high], [y, y], color=mark.colour, alpha=alpha, linewidth=0.9, zorder=2)
        axes.plot([x, x], [y_low, y_high], color=mark.colour, alpha=alpha, linewidth=0.9, zorder=2)
        axes.plot(*_way(mark, marks).T, ":", color=mark.colour, linewidth=0.9, zorder=3)


def _way(mark: Mark, marks: Sequence[Mark]) -> np.ndarray:
    """Points (10, 2) from a mark to that of the best checkpoint of its method."""
    best = next((other for other in marks if other.name == mark.name and not other.hollow), mark)
    return np.linspace(mark.point, best.point, 10)


def _draw_marks(axes: Axes, here: Sequence[Mark]) -> None:
    """Marks beside one another where they would cover one another, each joined to its place; then the names."""
    scale = axes.figure.dpi / 72
    points = axes.transData.transform([mark.point for mark in here])
    places = axes.transData.inverted().transform(apart(points, KEPT_APART * scale))
    for mark, place in zip(here, places, strict=True):
        face, size = "white" if mark.hollow else mark.colour, 11 if mark.marker == "*" else 6
        style: dict[str, Any] = {"color": mark.colour, "scalex": False, "scaley": False}
        axes.plot(*zip(mark.point, place, strict=True), linewidth=0.9, zorder=4, **style)
        axes.plot(*place, mark.marker, markerfacecolor=face, markersize=size, zorder=6 - mark.hollow, **style)
    _label(axes, here, places)


def _draw_legend(figure: Figure, bars: str) -> None:
    handles = []
    for marker, face, label in ("*", None, "teacher"), ("o", None, "best checkpoint"), ("o", "w", "last checkpoint"):
        handles.append(Line2D([], [], color=GREY, ls="", marker=marker, markerfacecolor=face, ms=6, label=label))
    handles.append(Line2D([], [], color=GREY, ls="", marker="+", ms=9, label=f"{bars}, crossing at the value"))
    legend(figure, handles)


def _label(axes: Axes, here: Sequence[Mark], places: np.ndarray) -> None:
    """One name a method, at its best checkpoint; names keep off the marks and, where they can, off the bars."""
    scale = axes.figure.dpi / 72
    obstacles = []
    for mark, place in zip(here, places, strict=True):
        (x, x_low, x_high), (y, y_low, y_high) = mark.clean, mark.worst
        for low, high, width in (((x_low, y), (x_high, y), 1), ((x, y_low), (x, y_high), 1), (place, place, 5)):
            obstacles.append(Bbox(axes.transData.transform([low, high])).padded(width * scale))
        way = axes.transData.transform(_way(mark, here)) if mark.hollow else ()
        obstacles += [Bbox([spot, spot]).padded(2 * scale) for spot in way]
    named = {mark.name: (mark, place) for mark, place in [*zip(here, places, strict=True)][::-1]}  # the best come first
    labels = [(mark.label, (float(x), float(y)), mark.colour) for mark, (x, y) in named.values()]
    place_labels(axes, labels, obstacles)
