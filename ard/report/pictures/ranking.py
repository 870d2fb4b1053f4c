"""The picture for more methods than a plane has room for: one line each, from the most robust to the least."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ard.report.pictures.marks import Mark, bars, marks_of, title
from ard.report.pictures.style import COLOURS, GREY, empty_axes, legend, save
from ard.report.rows import Row

WORST, CLEAN = COLOURS[0], COLOURS[1]


def draw_ranking(rows: Sequence[Row], differ: Sequence[str], path: Path) -> None:
    """Write the picture to `path`; rows without reliable robust numbers are left out."""
    marks = marks_of(rows, differ)
    names = {mark.name: mark for mark in sorted(marks, key=lambda mark: not mark.hollow)}  # the best checkpoint ranks
    ranked = sorted(names.values(), key=lambda mark: (mark.is_above_chance, mark.worst[0]))
    figure, axes = empty_axes(title(rows, differ), "accuracy (%)", "")
    figure.set_figheight(1.6 + 0.19 * len(ranked))
    for mark in marks:
        _draw_line(axes, mark, [other.name for other in ranked].index(mark.name))
    axes.set_yticks(range(len(ranked)), [mark.label for mark in ranked], fontsize=7.5)
    axes.set_ylim(-0.7, len(ranked) - 0.3)
    _draw_legend(figure, bars(rows))
    save(figure, path)


def _draw_line(axes: Axes, mark: Mark, place: int) -> None:
    for (middle, low, high), colour, symbol in (mark.worst, WORST, "o"), (mark.clean, CLEAN, "D"):
        if mark.hollow:
            axes.plot(middle, place, symbol, color=colour, markerfacecolor="white", markersize=3.5, zorder=3)
        else:
            axes.plot([low, high], [place, place], color=colour, linewidth=1.2, alpha=0.5, zorder=2)
            axes.plot(middle, place, symbol, color=colour, markersize=4, zorder=4)


def _draw_legend(figure: Figure, bars: str) -> None:
    shown = (("worst case", WORST, "o", WORST), ("clean", CLEAN, "D", CLEAN), ("last checkpoint", GREY, "o", "white"))
    handles = [
        Line2D([], [], color=colour, marker=marker, markerfacecolor=face, ls="", ms=4, label=label)
        for label, colour, marker, face in shown
    ]
    legend(figure, [*handles, Line2D([], [], color=GREY, lw=1.2, alpha=0.5, label=bars)])
