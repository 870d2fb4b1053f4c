"""Names beside the marks of a picture, placed so that they cover little."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

DISTANCES = (7, 14, 24, 36, 50)  # from the middle of a mark, in points
ANGLES = np.arange(0, 2 * np.pi, np.pi / 8)


def place_labels(
    axes: Axes, labels: Sequence[tuple[str, tuple[float, float], str]], obstacles: Sequence[Bbox]
) -> list[Bbox]:
    """Write each (name, point, colour) near its point, off `obstacles` (in pixels) and other names; return their boxes.

    Greedy: each name takes the place that covers least and lies nearest. A name far from its point gets a line to it.
    """
    scale = axes.figure.dpi / 72
    boxes: list[Bbox] = []
    covering = _extents(obstacles)
    for name, point, colour in labels:
        text = axes.annotate(name, point, (0, 0), textcoords="offset points", fontsize=8, color=colour)
        text.set(ha="center", va="center", in_layout=False, zorder=6)
        size, centre = text.get_window_extent(), axes.transData.transform(point)
        places = [_box(centre, size, distance * scale, angle) for distance in DISTANCES for angle in ANGLES]
        names = _extents([box.padded(scale) for box in boxes])
        costs = [_cost(box, covering, names, axes.bbox, centre, scale) for box in places]
        boxes.append(places[int(np.argmin(costs))])
        text.set_position(tuple((boxes[-1].get_points().mean(axis=0) - centre) / scale))
        nearest = np.clip(centre, boxes[-1].min, boxes[-1].max)
        if np.linalg.norm(nearest - centre) > 12 * scale:
            ends = axes.transData.inverted().transform([centre, nearest])
            axes.plot(ends[:, 0], ends[:, 1], color=colour, linewidth=0.5, zorder=1, scalex=False, scaley=False)
    return boxes


def _box(centre: np.ndarray, size: Bbox, distance: float, angle: float) -> Bbox:
    """A box of this size whose near side is `distance` away from the centre in the direction of `angle`."""
    x = centre[0] + np.cos(angle) * (distance + size.width / 2)
    y = centre[1] + np.sin(angle) * (distance + size.height / 2)
    return Bbox.from_bounds(x - size.width / 2, y - size.height / 2, size.width, size.height)


def _cost(box: Bbox, obstacles: np.ndarray, names: np.ndarray, axes: Bbox, centre: np.ndarray, scale: float) -> float:
    """Pixels shared with obstacles, dearer ones shared with names or outside the axes, and the way to the point."""
    unreadable = _shared(box, names) + box.width * box.height - _shared(box, _extents([axes]))
    way = float(np.linalg.norm(np.clip(centre, box.min, box.max) - centre))
    return _shared(box, obstacles) + 20 * unreadable + 3 * scale * way


def _extents(boxes: Sequence[Bbox]) -> np.ndarray:
    """(boxes, 4): left, low, right, high."""
    return np.array([box.extents for box in boxes]).reshape(-1, 4)


def _shared(box: Bbox, others: np.ndarray) -> float:
    """Pixels that a box shares with others, those of each."""
    sides = np.minimum(box.max, others[:, 2:]) - np.maximum(box.min, others[:, :2])
    return float(sides.clip(min=0).prod(axis=1).sum())
