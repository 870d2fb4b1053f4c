"""The picture for more methods than a plane has room for: one line each, from the most robust to the least."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ard.report.pictures.breaks import Interval, spans
from ard.report.pictures.marks import bars, marks_of, title
from ard.report.pictures.style import COLOURS, GREY, as_written, empty_figure, legend, plain_axes, save
from ard.report.rows import Row

WORST, CLEAN = COLOURS[0], COLOURS[1]


@as_written
def draw_ranking(rows: Sequence[Row], differ: Sequence[str], *paths: Path) -> None:
    """Write the picture to each path: worst-case accuracy, and beside it clean accuracy, each on its own scale.

    Where a few methods are far from all others, their numbers are written at the edge. Rows without reliable robust numbers
    are left out.
    """
    marks = marks_of(rows, differ)
    names = {mark.name: mark for mark in sorted(marks, key=lambda mark: not mark.hollow)}  # the best checkpoint ranks
    ranked = sorted(names.values(), key=lambda mark: (mark.is_above_chance, mark.worst[0]))
    places = {mark.name: place for place, mark in enumerate(ranked)}
    figure = empty_figure(title(rows, differ))
    figure.set_figheight(1.7 + 0.2 * len(ranked))
    worst, clean = figure.subplots(1, 2, sharey=True, width_ratios=[3, 2])
    far = _draw(worst, [_Point(places[m.name], m.worst, m.hollow, names[m.name] is m) for m in marks], WORST, "o")
    far |= _draw(clean, [_Point(places[m.name], m.clean, m.hollow, names[m.name] is m) for m in marks], CLEAN, "D")
    worst.set_xlabel("worst-case accuracy (%)")
    clean.set_xlabel("clean accuracy (%)")
    worst.set_yticks(range(len(ranked)), [mark.label for mark in ranked], fontsize=8)
    worst.set_ylim(-0.7, len(ranked) - 0.3)
    clean.tick_params(left=False)
    _draw_legend(figure, bars(rows), far=far)
    save(figure, *paths)


@dataclass(frozen=True)
class _Point:
    """One accuracy of one row: its line, mean, low, high, whether it is of the last checkpoint, and whether it ranks."""

    place: int
    accuracy: tuple[float, float, float]
    hollow: bool
    ranks: bool

    @property
    def shown(self) -> Interval:
        """The last checkpoint beside the best one is a mark without a bar."""
        middle, low, high = self.accuracy
        return (low, high) if self.ranks else (middle, middle)


def _draw(axes: Axes, points: Sequence[_Point], colour: str, marker: str) -> bool:
    """One accuracy of every row on the scale where most of them are; returns whether any is outside of it."""
    plain_axes(axes)
    parts = spans([point.shown for point in points])
    low, high = max(parts, key=lambda part: sum(part[0] <= point.accuracy[0] <= part[1] for point in points))
    axes.set_xlim(low, high)
    outside: dict[int, list[_Point]] = {}
    for point in sorted(points, key=lambda point: point.hollow):
        if low <= point.accuracy[0] <= high:
            _draw_point(axes, point, colour, marker)
        else:
            outside.setdefault(point.place, []).append(point)
    for place, far in outside.items():
        numbers = ", ".join(f"{'last ' if point.hollow else ''}{point.accuracy[0]:.1f}" for point in far)
        below = far[0].accuracy[0] < low
        text, x, side = (f"◂ {numbers}", 0.01, "left") if below else (f"{numbers} ▸", 0.99, "right")
        axes.text(x, place, text, transform=axes.get_yaxis_transform(), color=colour, fontsize=8, ha=side, va="center")
    return bool(outside)


def _draw_point(axes: Axes, point: _Point, colour: str, marker: str) -> None:
    face = "white" if point.hollow else colour
    axes.plot(point.accuracy[0], point.place, marker, color=colour, mfc=face, markersize=4, zorder=4 - point.hollow)
    if point.ranks:
        axes.plot(point.shown, [point.place, point.place], color=colour, linewidth=1.2, alpha=0.5, zorder=2)


def _draw_legend(figure: Figure, bars: str, *, far: bool) -> None:
    handles = [
        Line2D([], [], color=GREY, marker="o", markerfacecolor=face, ls="", ms=4, label=label)
        for label, face in (("best checkpoint", GREY), ("last checkpoint", "white"))
    ]
    handles.append(Line2D([], [], color=GREY, lw=1.2, alpha=0.5, label=bars))
    outside = Line2D([], [], color=GREY, marker="$◂$", ls="", ms=4, label="outside of the scale")
    legend(figure, [*handles, outside] if far else handles)
