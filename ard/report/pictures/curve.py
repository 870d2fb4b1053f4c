"""The robustness curve: accuracy against the attack's radius."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ard.artifacts.record import Record
from ard.core.errors import UserError
from ard.core.statistics import wilson_interval
from ard.core.text import radius
from ard.report.pictures.style import COLOURS, GREY, as_written, empty_axes, legend, save

LINE, CLEAN = COLOURS[0], COLOURS[1]


@as_written
def draw_curve(record: Record, *paths: Path, through: Path | None = None) -> None:
    """Draw accuracy after PGD-20 against the radius, with 95 % Wilson intervals; raises UserError without a curve.

    Paths and `through` are as `save` has them.
    """
    if not record.curve:
        raise UserError(f"a record of suite {record.suite} has no curve; expected one of `--suite full`")
    n, eps = record.n, record.threat.eps
    about = f"{record.dataset.name}, n = {n}, suite {record.suite}, {record.threat.words}"
    title = f"{record.model.architecture} on {about}"
    doubt = record.warning
    figure, axes = empty_axes(f"{title}\n{doubt}" if doubt else title, "radius of the attack", "accuracy (%)")
    _draw_points(axes, record.accuracy_by_radius, n)
    axes.axvline(eps, color=GREY, linestyle="--", linewidth=0.7, zorder=1)
    handles = [_handle(LINE, "o", f"PGD-20, with 95 % intervals over {n:,} images"), _handle(CLEAN, "D", "clean")]
    handles.append(Line2D([], [], color=GREY, ls="--", lw=0.7, label=f"radius of the threat, {radius(eps)}"))
    if record.per_class:
        chance = 100 / len(record.per_class)
        axes.axhline(chance, color=GREY, linestyle=":", linewidth=0.9, zorder=1)
        handles.append(Line2D([], [], color=GREY, ls=":", lw=0.9, label=f"chance, {chance:.3g} %"))
    legend(figure, handles)
    _label_radii(axes, list(record.accuracy_by_radius), eps)
    save(figure, *paths, through=through)


def _draw_points(axes: Axes, points: dict[float, float], n: int) -> None:
    axes.plot(list(points), [100 * accuracy for accuracy in points.values()], color=LINE, linewidth=1.2, zorder=3)
    for eps, accuracy in points.items():
        low, high = wilson_interval(accuracy, n)
        colour, marker = (LINE, "o") if eps else (CLEAN, "D")
        axes.plot([eps, eps], [100 * low, 100 * high], "_-", color=colour, linewidth=0.9, markersize=7, zorder=3)
        axes.plot(eps, 100 * accuracy, marker, color=colour, markersize=4.5, zorder=4)
    axes.set_ylim(-2, 102)  # a mark at either end is drawn whole


def _label_radii(axes: Axes, radii: list[float], whole: float) -> None:
    levels = radius(whole).endswith("/255")
    labels = [f"{255 * eps:.3g}/255" if levels and eps else radius(eps) for eps in radii]
    axes.set_xticks(radii, labels, fontsize=8, rotation=45, ha="right", rotation_mode="anchor")


def _handle(colour: str, marker: str, label: str) -> Line2D:
    return Line2D([], [], color=colour, marker=marker, ls="", ms=4.5, label=label)
