"""Learning curves from metrics.csv: of one run, and of several over each other."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf, isfinite

from ard.report.page.charts import Axis, Chart, Legend, Line, Look, Point, across, upwards

PERCENT = "accuracy (%)"
EPOCH = "epoch, counted from 0"
MOST_BANDS = 400  # epochs: longer runs are pointed at in coarser steps
TRAIN, CLEAN, ROBUST = Look("t4"), Look("t1", "diamond"), Look("t0")

Rows = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Plotted:
    """A column of metrics.csv with its name in the picture; accuracies are shown in percent."""

    column: str
    name: str
    look: Look
    factor: float = 1.0

    def points(self, rows: Rows) -> tuple[Point, ...]:
        """(epoch, mean of the epoch's rows); what is no number is left out."""
        values: dict[int, list[float]] = defaultdict(list)
        for row in rows:
            epoch, value = _number(row.get("epoch")), _number(row.get(self.column))
            if isfinite(epoch) and isfinite(value):
                values[int(epoch)].append(self.factor * value)
        return tuple((float(epoch), sum(all_of) / len(all_of)) for epoch, all_of in sorted(values.items()))


ACCURACIES = (
    Plotted("val/clean_acc", "clean", CLEAN, 100),
    Plotted("val/robust_acc", "robust", ROBUST, 100),
    Plotted("train/robust_acc", "training images, attacked", TRAIN, 100),
)
PICTURES = (
    ("Accuracy", PERCENT, ACCURACIES),
    ("Loss", "loss", (Plotted("train/loss", "training", TRAIN), Plotted("val/loss", "validation", CLEAN))),
    ("Learning rate", "learning rate", (Plotted("lr", "learning rate", ROBUST),)),
)


def curves_of_run(rows: Rows, best: int | None, *, hide_robust: bool) -> list[Chart]:
    """Accuracy, loss and learning rate by epoch, the selected epoch marked; pictures without a point are left out."""
    charts = []
    for title, label, columns in PICTURES:
        kept = [column for column in columns if not (hide_robust and column.column.endswith("robust_acc"))]
        lines = [Line(column.name, points, column.look) for column in kept if (points := column.points(rows))]
        if lines:
            charts.append(_chart(title, label, lines, best))
    return charts


def curves_over_each_other(runs: Sequence[tuple[str, Look, Rows, bool]]) -> list[Chart]:
    """Robust and clean validation accuracy of runs: name, look, rows, and whether a robust number may be shown."""
    charts = []
    for column in (ACCURACIES[1], ACCURACIES[0]):
        lines = []
        for name, look, rows, is_reliable in runs:
            points = column.points(rows) if is_reliable or column is ACCURACIES[0] else ()
            lines += [Line(_described(name, points), points, look)] if points else []
        if lines:
            x, y = _axes(PERCENT, lines)
            charts.append(Chart(f"Validation accuracy, {column.name}", x, y, lines=lines))
    return charts


def _chart(title: str, label: str, lines: Sequence[Line], best: int | None) -> Chart:
    x, y = _axes(label, lines)
    return Chart(
        title,
        x,
        y,
        summary=". ".join(_described(line.name, line.points) for line in lines),
        lines=lines,
        bands=_bands(lines),
        upright=[(float(best), f"selected: {best}")] if best is not None else [],
        legend=[Legend(line.name, line.look, is_line=True) for line in lines] if len(lines) > 1 else [],
    )


def _axes(label: str, lines: Sequence[Line]) -> tuple[Axis, Axis]:
    points = [point for line in lines for point in line.points]
    return across(EPOCH, [x for x, _ in points], whole=True), upwards(label, [y for _, y in points])


def _bands(lines: Sequence[Line]) -> list[tuple[float, float, str]]:
    """A strip an epoch that says the value of every line in it."""
    values = [(line.name, dict(line.points)) for line in lines]
    epochs = sorted({x for line in lines for x, _ in line.points})
    epochs = epochs[:: -(-len(epochs) // MOST_BANDS)]
    ends = [(left + right) / 2 for left, right in pairwise(epochs)]
    strips = zip([epochs[0] - 0.5, *ends], [*ends, epochs[-1] + 0.5], epochs, strict=True)
    return [
        (low, high, f"epoch {epoch:g}: " + ", ".join(f"{name} {_short(of[epoch])}" for name, of in values if epoch in of))
        for low, high, epoch in strips
    ]


def _described(name: str, points: Sequence[Point]) -> str:
    """The line for somebody who does not see it."""
    if not points:
        return name
    top, bottom = max(points, key=lambda point: point[1]), min(points, key=lambda point: point[1])
    first, last = points[0], points[-1]
    ends = f"{_short(first[1])} in epoch {first[0]:g}, {_short(last[1])} in epoch {last[0]:g}"
    return f"{name}: {ends}, between {_short(bottom[1])} and {_short(top[1])} (in {top[0]:g})"


def _short(value: float) -> str:
    return f"{value:.3g}"


def _number(cell: str | None) -> float:
    try:
        return float(cell) if cell else inf
    except ValueError:
        return inf
