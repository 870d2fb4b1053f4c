"""ard.report.pictures.curve: what is drawn is what the record says."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import binomtest
from small_records import full_record, unreliable

from ard.artifacts.record import Record
from ard.core.errors import UserError
from ard.report.pictures import curve
from ard.report.pictures.curve import draw_curve
from ard.report.pictures.style import empty_axes


@pytest.fixture
def draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Draws a record and returns the axes that were drawn on."""
    kept: list[Axes] = []

    def keep(*titles: str) -> tuple[Figure, Axes]:
        figure, axes = empty_axes(*titles)
        kept.append(axes)
        return figure, axes

    monkeypatch.setattr(curve, "empty_axes", keep)

    def drawn(record: Record) -> Axes:
        draw_curve(record, tmp_path / "curve.png")
        assert (tmp_path / "curve.png").read_bytes()[:4] == b"\x89PNG"
        return kept[-1]

    return drawn


def lines(axes: Axes) -> list[tuple[list[float], list[float]]]:
    return [(np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()) for line in axes.get_lines()]


def test_points_bars_and_lines(draw: Any) -> None:
    found = lines(draw(full_record()))
    radii, accuracies = [0.0, 2 / 255, 8 / 255, 32 / 255], [85.34, 79.0, 56.71, 0.0]
    assert any(x == pytest.approx(radii) and y == pytest.approx(accuracies) for x, y in found)
    for x, percent in zip(radii, accuracies, strict=True):
        interval = binomtest(round(100 * percent), 10000).proportion_ci(0.95, method="wilson")
        bar = [100 * interval.low, 100 * interval.high]
        assert any(xs == pytest.approx([x, x]) and ys == pytest.approx(bar, abs=1e-6) for xs, ys in found)
    assert ([0.0], [85.34]) in found
    assert ([8 / 255, 8 / 255], [0, 1]) in found  # a vertical line: y in fractions of the axes
    assert ([0, 1], [50.0, 50.0]) in found  # two classes


def test_radii_are_labelled_as_people_write_them(draw: Any) -> None:
    axes = draw(full_record())
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "2/255", "8/255", "32/255"]
    small = [{"eps": k * 2 / 255, "accuracy": 0.5, "stderr": 0.0} for k in (0.25, 1)]
    axes = draw(full_record(threat={"norm": "Linf", "eps": 2 / 255}, curve=small))
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "0.5/255", "2/255"]
    decimal = [{"eps": eps, "accuracy": 0.5, "stderr": 0.0} for eps in (0.0375, 0.15)]
    axes = draw(full_record(threat={"norm": "L2", "eps": 0.15}, curve=decimal))
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "0.0375", "0.15"]


def test_the_order_of_the_record_does_not_matter(draw: Any) -> None:
    record = full_record()
    assert lines(draw(record)) == lines(draw(replace(record, curve=record.curve[::-1])))


def test_the_title_names_network_data_and_doubt(draw: Any) -> None:
    title = "WideResNet-34-20 on CIFAR-10, n = 10000, suite full, Linf 8/255"
    assert draw(full_record()).figure.get_suptitle() == title
    assert draw(unreliable()).figure.get_suptitle() == f"{title}\nUNRELIABLE (O6, O10)"


@pytest.mark.parametrize("change", [{"curve": ()}, {"curve": (), "suite": "quick"}])
def test_a_record_without_a_curve_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no curve; expected one of `--suite full`"):
        draw_curve(full_record(**change), tmp_path / "curve.png")
    assert not list(tmp_path.iterdir())
