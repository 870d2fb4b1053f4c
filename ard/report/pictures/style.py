"""How the pictures of this package look."""

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ard.core.files import write_whole

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F3C8D")  # after Okabe and Ito
GREY = "#555555"


def empty_axes(title: str, xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    """A figure with one pair of axes, nothing drawn yet."""
    figure = Figure(figsize=(6.4, 4.8), dpi=200, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel)
    axes.set_title(title, fontsize=10)
    axes.grid(color="#e8e8e8", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    """Small print below the axes, in two lines where it would not fit into one."""
    small = {"fontsize": 6.5, "handletextpad": 0.4}
    columns = len(handles) if len(handles) <= 5 else -(-len(handles) // 2)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, **small)


def save(figure: Figure, path: Path, through: Path | None = None) -> None:
    """Write a picture as `write_whole` does; raises UserError where it cannot be written."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_whole(path, content.getvalue(), through=through)
