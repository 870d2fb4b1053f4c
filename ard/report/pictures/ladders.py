"""The picture of ladders: rows of which each is told one thing more, and what every step is worth."""

from collections.abc import Sequence
from itertools import groupby, pairwise
from pathlib import Path

from matplotlib.axes import Axes

from ard.core.text import in_points
from ard.report.differences import SAME, difference_of
from ard.report.pictures.marks import marks_of, title
from ard.report.pictures.style import COLOURS, GREY, as_written, empty_figure, plain_axes, save
from ard.report.rows import Row


def reliable(ladders: Sequence[Sequence[Row]]) -> list[list[Row]]:
    """Of each ladder the pieces between rows whose robust number a check contradicts: no step leads over one."""
    pieces = [(bad, list(part)) for rungs in ladders for bad, part in groupby(rungs, key=lambda row: bool(row.warning))]
    return [part for bad, part in pieces if not bad]


@as_written
def draw_ladders(ladders: Sequence[Sequence[Row]], *paths: Path) -> None:
    """Write the picture to each path: worst-case accuracy of each rung from top to bottom, and between two the difference.

    Intervals are those of the tables; the band is ±1 point, within which two rows are called equal. All rungs are
    reliable, and there is one at least.
    """
    rungs = [row for ladder in ladders for row in ladder]
    places = _places([len(ladder) for ladder in ladders])
    figure = empty_figure(title(rungs, []))
    figure.set_figheight(1.4 + 0.45 * (1 - places[-1]))
    heights, steps = figure.subplots(1, 2, sharey=True)
    for axes, label in ((heights, "worst-case accuracy (%)"), (steps, "difference (points)")):
        plain_axes(axes)
        axes.set_xlabel(label, fontsize=9)
        axes.tick_params(left=False)
    for place, mark in zip(places, marks_of(rungs, []), strict=True):
        middle, low, high = mark.worst
        _bar(heights, place, (middle, low, high), f"{middle:.1f}", COLOURS[0])
    heights.set_ylim(places[-1] - 0.4, 0.5)
    heights.set_yticks(places, [row.label for row in rungs], fontsize=8)
    steps.axvspan(-100 * SAME, 100 * SAME, color="#eeeeee", zorder=0)
    steps.axvline(0, color=GREY, linewidth=0.8)
    for (above, before), (place, row) in pairwise(zip(places, rungs, strict=True)):
        step = difference_of(row, before, "worst") if place == above - 1 else None  # further down another ladder begins
        if step is not None:
            points = (100 * step.mean, 100 * step.low, 100 * step.high)
            _bar(steps, place + 0.5, points, in_points(step.mean), COLOURS[1])
    save(figure, *paths)


def _places(lengths: Sequence[int]) -> list[int]:
    """Heights of all rungs, from 0 downwards: one apart, and two between ladders."""
    starts = [sum(lengths[:place]) + place for place in range(len(lengths))]
    return [-start - rung for start, length in zip(starts, lengths, strict=True) for rung in range(length)]


def _bar(axes: Axes, height: float, interval: tuple[float, float, float], text: str, colour: str) -> None:
    """(middle, low, high), and the text above the middle."""
    middle, *ends = interval
    axes.plot(ends, [height, height], color=colour, linewidth=1.6)
    axes.plot(middle, height, "o", color=colour, markersize=4)
    axes.annotate(text, (middle, height), (0, 4), textcoords="offset points", ha="center", fontsize=7)
