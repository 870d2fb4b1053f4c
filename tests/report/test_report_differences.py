"""ard.report.comparison: differences between rows and the names in the picture."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from small_records import differences, first, write, write_study

from ard.core.errors import UserError
from ard.report.comparison import compare_records
from ard.report.pictures.labels import place_labels


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_study(tmp_path / "digits")


def test_differences_against_the_strongest_without_a_teacher(study: Path) -> None:
    write(study / "natural/seed0/evaluation.json", first(0.99), first(0.0))
    text = compare_records([study], study / "out")
    assert "| Method − pgd_at |" in text
    assert differences(text, "ard")[1].startswith("+10.0 [+7")  # sd of 50 in 500: 1.34 points
    assert differences(text, "ard")[2] == "+0.0 [−0.6, +0.6] one seed"
    assert differences(text, "natural")[1].startswith("−70.0 [−7")
    assert differences(compare_records([study], study / "out", baseline="natural"), "ard")[1].startswith("+80.0")
    with pytest.raises(UserError, match=r"--baseline trades: no such row; expected one of .*ard"):
        compare_records([study], study / "out", baseline="trades")


def test_a_bar_in_a_name_is_no_cell(study: Path) -> None:
    write(study / "a|b/seed0/evaluation.json", first(0.9), first(0.5))
    text = compare_records([study], study / "out", baseline="a|b")
    tables = [line for line in text.splitlines() if line.startswith("| ")]
    assert [line for line in tables if "a|b" in line] == []
    assert sum("a\\|b" in line for line in tables) >= 2


def test_labels_of_a_crowd_do_not_overlap() -> None:
    axes = Figure(figsize=(6, 4), dpi=100).add_subplot(xlim=(0, 1), ylim=(0, 1))
    labels = [(f"method {k}", (0.5 + 0.01 * k, 0.5), "black") for k in range(8)]
    boxes = place_labels(axes, labels, [])
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert all(axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 for box in boxes)
