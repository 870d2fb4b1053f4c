"""Pictures as numbers: scales, lines, marks, and what a reader is told of each; templates/chart.html draws them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import copysign, isfinite

import numpy as np
from matplotlib.ticker import MaxNLocator

from ard.report.pictures.apart import apart
from ard.report.pictures.breaks import spans

WIDTH, HEIGHT = 380, 260
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 12, 42  # room around the plane
TONES = 7  # colours of page.css: t0 to t6
SHAPES = {
    "circle": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
    "square": "M-3.6 -3.6h7.2v7.2h-7.2z",
    "diamond": "M0 -5l5 5l-5 5l-5 -5z",
    "up": "M0 -5l4.6 8.4h-9.2z",
    "down": "M0 5l4.6 -8.4h-9.2z",
    "plus": "M-1.6 -4.8h3.2v3.2h3.2v3.2h-3.2v3.2h-3.2v-3.2h-3.2v-3.2h3.2z",
    "star": "M0 -6.5l1.6 4.4h4.6l-3.7 2.8l1.4 4.5l-3.9 -2.7l-3.9 2.7l1.4 -4.5l-3.7 -2.8h4.6z",
}
IN_TURN = ("circle", "square", "diamond", "up", "down", "plus")  # with seven colours: 42 that differ
BREAK = 22.0  # pixels between two pieces of an axis
EMPTY = 0.25  # of an axis: a stretch without anything that is left out
MOST = 1e300  # how far an axis reaches: the difference of two larger numbers may be none; they are drawn at its ends
APART = 9.0  # pixels between the middles of two marks

Point = tuple[float, float]


@dataclass(frozen=True)
class Look:
    """How all marks and lines of one thing look; `key` lights them up together, and 0 dashes is a full line."""

    tone: str
    shape: str = "circle"
    dash: int = 0
    key: str = ""

    @classmethod
    def numbered(cls, number: int, *, key: str = "") -> "Look":
        """The look of the first, second, … of many: no two of 42 are alike."""
        return cls(f"t{number % TONES}", IN_TURN[number % len(IN_TURN)], number // TONES % 4, key)


@dataclass(frozen=True)
class Piece:
    """The numbers from `low` to `high` on the pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """The pixel of a number; of one outside, the nearer end."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


@dataclass(frozen=True)
class Axis:
    """A scale of one piece, or of two where it is broken; `ticks` are pixels with their words."""

    label: str
    pieces: tuple[Piece, ...]
    ticks: tuple[tuple[float, str], ...]

    def place(self, value: float) -> float:
        """The pixel of a number."""
        return next((piece for piece in self.pieces if value <= piece.high), self.pieces[-1]).place(value)


@dataclass(frozen=True)
class Line:
    """Points that are joined."""

    name: str
    points: tuple[Point, ...]
    look: Look


@dataclass(frozen=True)
class PlacedMark:
    """A point with its intervals, each (low, high), and the words that appear over it; `moved` by pixels to be seen."""

    x: float
    y: float
    words: str
    look: Look
    across: Point | None = None
    along: Point | None = None
    hollow: bool = False
    moved: Point = (0.0, 0.0)


@dataclass(frozen=True)
class Legend:
    """A look and its name."""

    name: str
    look: Look
    is_line: bool = False


@dataclass(frozen=True)
class Chart:
    """A picture: its two axes and what is in the plane. `bands` are upright strips (low, high, words) to point at."""

    title: str
    x: Axis
    y: Axis
    summary: str = ""
    note: str = ""
    height: int = HEIGHT
    left: int = LEFT
    lines: Sequence[Line] = ()
    marks: Sequence[PlacedMark] = ()
    bands: Sequence[tuple[float, float, str]] = ()
    upright: Sequence[tuple[float, str]] = ()  # dashed lines at an x, with their words
    legend: Sequence[Legend] = ()
    image: str = ""  # fills the plane
    faint: bool = False  # intervals hardly seen until their mark is pointed at: for many marks

    @property
    def width(self) -> int:
        return WIDTH

    @property
    def top(self) -> int:
        return TOP

    @property
    def right(self) -> int:
        return WIDTH - RIGHT

    @property
    def bottom(self) -> int:
        return self.height - BOTTOM

    def path(self, line: Line) -> str:
        """The line as SVG draws it; one point alone is a dot."""
        return "M" + "L".join(f"{self.x.place(x):g} {self.y.place(y):g}" for x, y in line.points) + "h0"


def across(label: str, values: Iterable[float], *, left: int = LEFT, whole: bool = False) -> Axis:
    """The axis from left to right over these values, with `whole` of numbers that are whole ones."""
    return _axis(label, values, left, WIDTH - RIGHT, whole=whole)


def upwards(label: str, values: Iterable[float], *, height: int = HEIGHT) -> Axis:
    """The axis from the bottom up over these values."""
    return _axis(label, values, height - BOTTOM, TOP)


def cut(axis: Axis, intervals: Sequence[Point]) -> Axis:
    """The same axis over intervals of accuracies in percent: what is empty between them is left out, where it is much.

    Both pieces have one scale, and the pixels that the axis had.
    """
    start, end = axis.pieces[0].start, axis.pieces[-1].end
    parts = [(max(0.0, low), min(100.0, high)) for low, high in spans(intervals, EMPTY)]
    if len(parts) == 1:
        return axis
    between = copysign(BREAK, end - start)
    length = sum(high - low for low, high in parts)
    scale = (end - start - between) / length
    (low, high), (next_low, next_high) = parts
    below = Piece(low, high, start, start + scale * (high - low))
    above = Piece(next_low, next_high, below.end + between, end)
    first, second, *_ = _nice(0, length)
    multiples = [(second - first) * k for k in range(int(100 / (second - first)) + 1)]
    ticks = [
        tick for piece in (below, above) for tick in _ticks(piece, [m for m in multiples if piece.low <= m <= piece.high])
    ]
    return Axis(axis.label, (below, above), tuple(ticks))


def of_cells(label: str, values: Sequence[float], *, upright: bool = False) -> Axis:
    """The axis along an image with a cell a value: it ends half a cell beyond the first and the last of them."""
    start, end = (HEIGHT - BOTTOM, TOP) if upright else (LEFT, WIDTH - RIGHT)
    low, high = _reached(min(values)), _reached(max(values))
    half = (high - low) / (2 * (len(values) - 1)) if high > low else 0.5
    piece = Piece(low - half, high + half, start, end)
    ticks = [tick for tick in _nice(low, high) if piece.low <= tick <= piece.high]
    return Axis(label, (piece,), _ticks(piece, ticks))


def listed(names: Sequence[str], step: int) -> Axis:
    """The axis of a list: a name a row, from the top down; the place of row k is that of the number k."""
    piece = Piece(-0.5, len(names) - 0.5, TOP, TOP + step * len(names))
    return Axis("", (piece,), tuple((piece.place(k), name) for k, name in enumerate(names)))


def height_of(count: int, step: int) -> int:
    """Of a picture whose upright axis is `listed`."""
    return TOP + step * count + BOTTOM


def _axis(label: str, values: Iterable[float], start: float, end: float, *, whole: bool = False) -> Axis:
    known = [value for value in values if isfinite(value)] or [0.0, 1.0]
    nice = _nice(min(known), max(known), whole=whole)
    piece = Piece(nice[0], nice[-1], start, end)
    return Axis(label, (piece,), _ticks(piece, nice))


def _reached(value: float) -> float:
    return min(max(value, -MOST), MOST)


def _ticks(piece: Piece, ticks: Sequence[float]) -> tuple[tuple[float, str], ...]:
    return tuple((piece.place(tick), f"{tick:.6g}".replace("-", "−")) for tick in ticks)


def _nice(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Round numbers from at most `low` to at least `high`, as far as an axis reaches."""
    low, high = _reached(low), _reached(high)
    if high == low and whole:
        high += 1
    elif high == low:
        low, high = low - abs(low) / 10 - 0.05, high + abs(high) / 10 + 0.05
    return [float(tick) for tick in MaxNLocator(6, steps=[1, 2, 2.5, 5, 10], integer=whole).tick_values(low, high)]


def kept_apart(chart: Chart) -> Chart:
    """The same picture with marks beside one another where they would lie upon one another."""
    points = np.array([(chart.x.place(mark.x), chart.y.place(mark.y)) for mark in chart.marks]).reshape(-1, 2)
    shifts = np.round(apart(points, APART) - points, 1).tolist()
    marks = [replace(mark, moved=(dx, dy)) for mark, (dx, dy) in zip(chart.marks, shifts, strict=True)]
    return replace(chart, marks=marks)
