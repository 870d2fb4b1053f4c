"""The trade-off picture: clean against worst-case accuracy."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from ard.report.records import Row
from ard.report.table import shared_settings
from ard.statistics import paired_difference

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F3C8D")  # Okabe and Ito, told apart by all
MARKERS = "osD^vP"
TEACHER = "#333333"
Point = tuple[float, float]
PLACES = [(r, a) for r in (7, 14, 24, 36, 50) for a in np.arange(0, 2 * np.pi, np.pi / 8)]  # points and angle from a mark


def draw(rows: Sequence[Row], differ: Sequence[str], path: Path) -> str:
    """Write the picture to `path` and return its caption; rows whose robust numbers cannot be relied on are left out."""
    figure = Figure(figsize=(6.4, 4.8), dpi=200, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel="clean accuracy (%)", ylabel="worst-case accuracy (%)")
    shared = shared_settings(rows, differ)
    axes.set_title(", ".join(shared[key] for key in ("dataset", "threat") if key in shared), fontsize=10)
    axes.grid(color="#e8e8e8", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    reliable = [row for row in rows if not row.warning]
    labels, boxes = _draw_rows(axes, reliable, differ)
    several = max((len(row.records) for row in reliable), default=1) > 1
    bars = f"95 % bootstrap interval over test images{' and seeds' if several else ''}"
    _draw_legend(figure, bars)
    figure.draw_without_rendering()  # labels are placed in pixels, so the layout must stand
    _place_labels(axes, labels, boxes)
    figure.savefig(path)
    left_out = ", ".join(row.label for row in rows if row.warning)
    return f"Error bars: {bars}." + (f" Left out as unreliable: {left_out}." if left_out else "")


def _draw_rows(
    axes: Axes, rows: Sequence[Row], differ: Sequence[str]
) -> tuple[dict[str, tuple[Point, str]], list[tuple[Point, Point]]]:
    """Draw marks and bars; return what to label (name -> point, colour) and the boxes (low, high) that bars span."""
    labels: dict[str, tuple[Point, str]] = {}
    boxes, styles = [], {}
    for row in rows:
        name = ", ".join([row.method, *(row.records[0].settings[key] for key in differ)])
        if name not in styles:
            k = sum(style[0] != TEACHER for style in styles.values())
            styles[name] = (TEACHER, "*") if row.is_teacher else (COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)])
        colour, marker = styles[name]
        x, y = (_percent_interval(row.bits(kind)) for kind in ("clean", "worst"))
        errors = {"xerr": [[x[0] - x[1]], [x[2] - x[0]]], "yerr": [[y[0] - y[1]], [y[2] - y[0]]]}
        axes.errorbar(x[0], y[0], **errors, color=colour, alpha=0.25 if row.is_last else 0.5, linewidth=0.9, zorder=2)
        size, face = 11 if marker == "*" else 6, "white" if row.is_last else colour
        axes.plot(x[0], y[0], marker, color=colour, markerfacecolor=face, markersize=size, zorder=4)
        if name in labels:  # a thin line says which marks are one method's
            (other, _) = labels[name]
            axes.plot([x[0], other[0]], [y[0], other[1]], ":", color=colour, linewidth=0.9, zorder=3)
        if name not in labels or not row.is_last:
            labels[name] = ((x[0], y[0]), colour)
        boxes += [((x[1], y[0]), (x[2], y[0])), ((x[0], y[1]), (x[0], y[2])), ((x[0], y[0]), (x[0], y[0]))]
    return labels, boxes


def _percent_interval(bits: np.ndarray) -> tuple[float, float, float]:
    mean = paired_difference(bits, np.zeros_like(bits))
    return 100 * mean.mean, 100 * mean.low, 100 * mean.high


def _draw_legend(figure: Figure, bars: str) -> None:
    grey = {"color": "#555555", "linestyle": ""}
    handles = [
        Line2D([], [], marker="*", markersize=9, label="teacher", **grey),
        Line2D([], [], marker="o", markersize=5, label="best checkpoint", **grey),
        Line2D([], [], marker="o", markersize=5, markerfacecolor="white", label="last checkpoint", **grey),
        Line2D([], [], marker="|", markersize=9, label=bars, **grey),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=6.5, frameon=False, handletextpad=0.2)


def _place_labels(axes: Axes, labels: dict[str, tuple[Point, str]], boxes: list[tuple[Point, Point]]) -> None:
    """Write each name beside its mark, where it covers least of the marks, bars and names already there."""
    scale = axes.figure.dpi / 72
    taken = [Bbox(axes.transData.transform(box)).padded(2 * scale) for box in boxes]
    taken += [Bbox(axes.transData.transform([low, low])).padded(5 * scale) for low, high in boxes if low == high]
    for name, (point, colour) in labels.items():
        text = axes.annotate(name, point, (0, 0), textcoords="offset points", fontsize=8, color=colour, ha="center", va="center")
        text.set_in_layout(False)
        size = text.get_window_extent()
        centre = axes.transData.transform(point)
        places = [_box(centre, size.width, size.height, r * scale, angle) for r, angle in PLACES]
        costs = [_cost(box, taken, axes.bbox) + 20 * scale**2 * r for box, (r, _) in zip(places, PLACES, strict=True)]
        chosen = places[int(np.argmin(costs))]
        offset = (np.mean(chosen.intervalx) - centre[0], np.mean(chosen.intervaly) - centre[1])
        text.set_position((offset[0] / scale, offset[1] / scale))
        taken.append(chosen.padded(scale))


def _box(centre: np.ndarray, width: float, height: float, distance: float, angle: float) -> Bbox:
    x = centre[0] + np.cos(angle) * (distance + width / 2)
    y = centre[1] + np.sin(angle) * (distance + height / 2)
    return Bbox.from_bounds(x - width / 2, y - height / 2, width, height)


def _cost(box: Bbox, taken: Sequence[Bbox], axes: Bbox) -> float:
    """Pixels that the box shares with what is there, and, dearer, pixels outside the axes."""
    shared = (Bbox.intersection(box, other) for other in taken)
    inside = Bbox.intersection(box, axes)
    outside = box.width * box.height - (inside.width * inside.height if inside else 0)
    return sum(both.width * both.height for both in shared if both) + 10 * outside
