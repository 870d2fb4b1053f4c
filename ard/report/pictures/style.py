"""How the pictures of this package look."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from ard.core.files import write_whole

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F3C8D")  # after Okabe and Ito
GREY = "#555555"
LINE = 125  # letters of small print
UNDATED = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}  # metadata: the same records, the same bytes
# names inside an SVG; fonts as printers and conferences take them
SAME_NAMES: Any = {"svg.hashsalt": "ard", "pdf.fonttype": 42}


as_written = matplotlib.rc_context({"text.parse_math": False})  # a decorator: a name with two dollar signs is no formula


def empty_figure(title: str) -> Figure:
    """A figure with its title and nothing else."""
    figure = Figure(figsize=(6.4, 4.8), dpi=200, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    return figure


def empty_axes(title: str, xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    """A figure with one pair of axes, nothing drawn yet."""
    figure = empty_figure(title)
    axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel)
    plain_axes(axes)
    return figure, axes


def plain_axes(axes: Axes) -> None:
    """A light grid behind what is drawn, and no frame."""
    axes.grid(color="#e8e8e8", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    """Small print below the axes, in two lines where it would not fit into one."""
    small = {"fontsize": 7, "handletextpad": 0.4, "columnspacing": 1.4}
    letters = sum(len(str(handle.get_label())) + 6 for handle in handles)
    columns = len(handles) if letters <= LINE else -(-len(handles) // 2)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, **small)


def settle_layout(figure: Figure) -> None:
    """Lay the figure out, once: each kind of file has dots of its own size, and would be laid out a little differently."""
    if isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")


def save(figure: Figure, *paths: Path, through: Path | None = None) -> None:
    """Write a picture to each path, of the kind that it ends in: .png, .svg or .pdf; as `write_whole` does.

    The same records make the same bytes: there is no date in them. Raises UserError where one cannot be written.
    """
    settle_layout(figure)
    for path in paths:
        content = io.BytesIO()
        with matplotlib.rc_context(SAME_NAMES):
            figure.savefig(content, format=path.suffix[1:], metadata=UNDATED[path.suffix])
        write_whole(path, content.getvalue(), through=through)
