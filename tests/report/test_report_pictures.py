"""ard.report.comparison: the picture that suits the rows, and what it draws of them."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from small_records import first, write, write_study

from ard.report.comparison import MOST_IN_PLANE, compare_records
from ard.report.pictures import frontier, ranking
from ard.report.pictures.frontier import knobs_of, matched_table
from ard.report.rows import group, load_records

SWEPT = {"0.5": (0.99, 0.5), "1": (0.98, 0.6), "6": (0.95, 0.7), "12": (0.94, 0.65)}


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Every figure that is written, to look at."""
    written: list[Figure] = []
    for module in (frontier, ranking):
        make = module.empty_axes

        def kept(*titles: str, make=make) -> object:
            figure, axes = make(*titles)
            written.append(figure)
            return figure, axes

        monkeypatch.setattr(module, "empty_axes", kept)
    return written


@pytest.fixture
def swept(tmp_path: Path) -> Path:
    for value, (clean, worst) in SWEPT.items():
        write(tmp_path / f"trades-beta-{value}/seed0/evaluation.json", first(clean), first(worst))
    return tmp_path


def test_a_crowd_gets_a_line_each_from_the_least_robust_up(tmp_path: Path, figures: list[Figure]) -> None:
    study = write_study(tmp_path / "study")
    for k in range(MOST_IN_PLANE):
        write(study / f"method{k}/seed0/evaluation.json", first(0.9), first(0.02 * k))
    assert f"Picture: {study / 'ranking.png'}" in compare_records([study], study)
    names = [label.get_text() for label in figures[0].axes[0].get_yticklabels()]
    assert names == [*(f"method{k}" for k in range(MOST_IN_PLANE)), "pgd_at", "ard", "robust (teacher)"]
    blue = [line for line in figures[0].axes[0].lines if line.get_color() == ranking.WORST and line.get_marker() == "o"]
    filled = sorted((line.get_ydata()[0], line.get_xdata()[0]) for line in blue if line.get_markerfacecolor() != "white")
    assert [x for _, x in filled] == pytest.approx([*(2.0 * k for k in range(MOST_IN_PLANE)), 70, 80, 90])


def test_swept_runs_are_joined_in_the_order_of_the_knob(swept: Path, figures: list[Figure]) -> None:
    write(swept / "ard/seed0/evaluation.json", first(0.9), first(0.5))
    assert f"Picture: {swept / 'frontier.png'}" in compare_records([swept], swept)
    joined = next(line for line in figures[0].axes[0].lines if len(line.get_xdata()) == len(SWEPT))
    assert np.column_stack(joined.get_data()) == pytest.approx(100 * np.array(list(SWEPT.values())))


def test_two_values_are_no_sweep_and_names_with_dashes_no_knobs(tmp_path: Path) -> None:
    for name in ("trades-beta-1", "trades-beta-6", "ard-as-released", "net-v-2"):
        write(tmp_path / f"{name}/seed0/evaluation.json", first(0.9), first(0.5))
    assert knobs_of(group(load_records([tmp_path]))) == []
    assert "tradeoff.png" in compare_records([tmp_path], tmp_path)


def test_the_most_robust_setting_at_a_clean_accuracy(swept: Path) -> None:
    table = matched_table(group(load_records([swept])))
    rows = {line.split(" | ")[0].strip("| "): line.split(" | ")[1].strip("| ") for line in table.splitlines()[2:6]}
    assert rows == {"94.0": "70.0 (6)", "94.7": "70.0 (6)", "96.5": "60.0 (1)", "98.2": "50.0 (0.5)"}


def test_who_is_above_the_baseline_is_said(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study")
    for seed in (1, 2):
        write(study / f"ard/seed{seed}/evaluation.json", first(0.95), first(0.8), teacher="f" * 64)
        write(study / f"pgd_at/seed{seed}/evaluation.json", first(0.95), first(0.7))
    assert "Above pgd_at in the worst case, significantly: ard (of 1)." in compare_records([study], study, baseline="pgd_at")
    assert "Above ard in the worst case, significantly: none (of 1)." in compare_records([study], study, baseline="ard")
