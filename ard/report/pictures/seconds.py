"""Robust accuracy per second: worst-case accuracy against what the device worked on training."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from matplotlib.transforms import Bbox

from ard.core.errors import UserError
from ard.report.differences import students
from ard.report.pictures.labels import place_labels
from ard.report.pictures.marks import Mark, bars, marks_of, title
from ard.report.pictures.style import GREY, as_written, empty_axes, legend, save, settle_layout
from ard.report.rows import Row
from ard.report.table import device_seconds

WIDEST = 1.15  # times the least and the most seconds: where the axis ends


def timed_rows(rows: Sequence[Row]) -> list[Row]:
    """Reliable best checkpoints of which every run says what its device worked; none where devices are not all alike.

    Runs of a few steps, as a rehearsal has them, may have taken 0.0 seconds, which no axis of powers has.
    """
    timed = [row for row in students(rows) if not row.warning and min(device_seconds(row), default=0) > 0]
    devices = {record.training.device for row in timed for record in row.records if record.training}
    return timed if len(devices) == 1 else []


@as_written
def draw_seconds(rows: Sequence[Row], differ: Sequence[str], *paths: Path) -> None:
    """Write the picture to each path: mean over the runs of a row, its runs' least and most seconds, its interval.

    A line joins the rows that no row as fast is as robust as.

    Raises:
        UserError: Where no row has seconds that can be compared, see timed_rows.
    """
    timed = timed_rows(rows)
    if not timed:
        raise UserError("no row says what its device worked on training: expected runs of one device by this version")
    figure, axes = empty_axes(title(rows, differ), _axis(timed[0]), "worst-case accuracy (%)")
    places = [(row_seconds, mark) for row_seconds, mark in zip(map(_spread, timed), marks_of(timed, differ), strict=True)]
    _log_axis(axes, [second for seconds, _ in places for second in seconds])
    for seconds, mark in places:
        _draw(axes, seconds, mark)
    front = _front([(seconds[0], mark.worst[0]) for seconds, mark in places])
    axes.step(*zip(*front, strict=True), where="post", color=GREY, linewidth=0.8, linestyle=":", zorder=1)
    handles = [Line2D([], [], color=GREY, lw=1, alpha=0.5, label=f"{bars(rows)}; seconds from least to most")]
    handles.append(Line2D([], [], color=GREY, lw=0.8, ls=":", label="none as fast is as robust"))
    legend(figure, handles)
    settle_layout(figure)  # names are placed in pixels
    _label(axes, [((seconds[0], mark.worst[0]), mark) for seconds, mark in places])
    save(figure, *paths)


def _axis(row: Row) -> str:
    device = row.first.training.device if row.first.training else ""
    unit = "CPU seconds" if device == "cpu" else f"seconds of {device}"
    return f"{unit} of training steps, without validation and the training of teachers"


def _spread(row: Row) -> tuple[float, float, float]:
    """Mean, least and most of its runs."""
    seconds = device_seconds(row)
    return sum(seconds) / len(seconds), min(seconds), max(seconds)


def _log_axis(axes: Axes, seconds: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.set_xlim(min(seconds) / WIDEST, max(seconds) * WIDEST)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _draw(axes: Axes, seconds: tuple[float, float, float], mark: Mark) -> None:
    (x, x_low, x_high), (y, y_low, y_high) = seconds, mark.worst
    for xs, ys in (([x_low, x_high], [y, y]), ([x, x], [y_low, y_high])):
        axes.plot(xs, ys, color=mark.colour, alpha=0.5, linewidth=0.9, zorder=2)
    axes.plot(x, y, mark.marker, color=mark.colour, markersize=6, zorder=5)


def _front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (seconds, accuracy) that are more accurate than all that took no longer, from the fastest on."""
    front: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or point[1] > front[-1][1]:
            front.append(point)
    return front


def _label(axes: Axes, placed: Sequence[tuple[tuple[float, float], Mark]]) -> None:
    """Names keep off the marks and, where they can, off the intervals."""
    scale = axes.figure.dpi / 72
    obstacles = []
    for (x, y), mark in placed:
        for low, high, width in (((x, mark.worst[1]), (x, mark.worst[2]), 1), ((x, y), (x, y), 5)):
            obstacles.append(Bbox(axes.transData.transform([low, high])).padded(width * scale))
    place_labels(axes, [(mark.label, point, mark.colour) for point, mark in placed], obstacles)
