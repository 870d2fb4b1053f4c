"""Axes that leave out a wide empty stretch: a network without robustness must not squeeze all others into a corner."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.ticker import MaxNLocator, MultipleLocator

from ard.report.pictures.style import plain_axes

WIDE = 1 / 3  # of an axis: beyond that an empty stretch is left out
MARGIN = 0.04  # of what is shown, on both sides of it
TICKS = 6
STROKE: dict[str, Any] = {"marker": [(-1, -0.6), (1, 0.6)], "markersize": 7, "ls": "none", "color": "k", "mew": 0.9}
Interval = tuple[float, float]


def spans(intervals: Sequence[Interval], wide: float = WIDE) -> list[Interval]:
    """The stretches of an axis that is to show these intervals: one, or two where much of it between them would be empty.

    Much is more than the share `wide` of the axis.
    """
    ends = np.array(sorted(intervals or [(0, 100)]), dtype=float)
    reached = np.maximum.accumulate(ends[:, 1])
    gaps = ends[1:, 0] - reached[:-1]
    parts = [(ends[0, 0], reached[-1])]
    if gaps.max(initial=0) > wide * (reached[-1] - ends[0, 0]):
        cut = int(gaps.argmax())
        parts = [(ends[0, 0], reached[cut]), (ends[cut + 1, 0], reached[-1])]
    margin = max(MARGIN * sum(high - low for low, high in parts), 0.5)
    return [(float(low - margin), float(high + margin)) for low, high in parts]


def stacked(figure: Figure, parts: Sequence[Interval]) -> list[Axes]:
    """Axes above one another, one for each stretch of y from the lowest up, on one scale, with a cut between them."""
    lengths = [high - low for low, high in parts]
    grid = GridSpec(len(parts), 1, figure, height_ratios=lengths[::-1])
    panels = [figure.add_subplot(grid[len(parts) - 1, 0])]
    panels += [figure.add_subplot(grid[row, 0], sharex=panels[0]) for row in range(len(parts) - 2, -1, -1)]
    for axes, (low, high) in zip(panels, parts, strict=True):
        plain_axes(axes)
        axes.set_ylim(low, high)
        axes.yaxis.set_major_locator(MultipleLocator(_step(sum(lengths))))
    for below, above in pairwise(panels):
        above.spines["bottom"].set_visible(False)
        above.tick_params(bottom=False, labelbottom=False)
        _stroke(below, 0, 1)
        _stroke(above, 0, 0)
    return panels


def _step(length: float) -> float:
    """A round distance of ticks on an axis of that length."""
    values = MaxNLocator(TICKS, steps=[1, 2, 5, 10]).tick_values(0, length)
    return float(values[1] - values[0])


def _stroke(axes: Axes, x: float, y: float) -> None:
    """A stroke at a corner: here the axis is interrupted."""
    axes.plot([x], [y], transform=axes.transAxes, clip_on=False, **STROKE)
