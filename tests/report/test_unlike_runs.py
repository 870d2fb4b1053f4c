"""ard.report: runs that are not alike are told apart, or named: networks, attacks, epochs, folds and their images."""

from pathlib import Path
from typing import Any

import pytest
from small_records import attack, cells, differences, first, write

from ard.core.errors import UserError
from ard.report.comparison import compare_records
from ard.report.grouping import group, load_records

pytestmark = pytest.mark.usefixtures("no_picture")
WIDE = {"class_path": "ard.models.mobilenet.MobileNetV2", "init_args": {"width": 2.0}}


def runs(root: Path, method: str, worst: float, seeds: range = range(3), name: str = "", **changes: Any) -> None:
    for seed in seeds:
        write(root / f"study/{method}/seed{seed}/{name}evaluation.json", first(0.9), first(worst), **changes)


def of_fold(root: Path, method: str, fold: int, worst: float, **changes: Any) -> None:
    data = {"name": "Digits", "class_path": "ard.data.Digits", "init_args": {"fold": fold}, "digest": f"{fold}" * 16}
    run = {"study": "study", "method": method, "role": "student", "checkpoint": "best", "seed": fold, "swept": {}}
    place = root / f"study/{method}/fold{fold}/seed{fold}/evaluation.json"
    write(place, first(0.9), first(worst), dataset=data, run={**run, "teachers": {}}, **changes)


def of_length(**settings: int) -> dict[str, Any]:
    return {"attacks": tuple(attack(name, 0.7, settings=settings) for name in ("FGSM", "APGD-CE"))}


def test_runs_of_other_networks_are_no_seeds_of_one_row(tmp_path: Path) -> None:
    runs(tmp_path, "ard", 0.5, range(2))
    runs(tmp_path, "ard", 0.9, range(2, 4), model=WIDE)
    assert sorted((row.mean("worst"), len(row.records)) for row in group(load_records([tmp_path]))) == [(0.5, 2), (0.9, 2)]


def test_a_run_that_was_attacked_by_more_than_its_row_is_told(tmp_path: Path) -> None:
    runs(tmp_path, "pgd_at", 0.7)
    runs(tmp_path, "ard", 0.7, range(2))
    more = tuple(attack(name, 0.7, settings={}) for name in ("FGSM", "Odd-7", "Square"))
    runs(tmp_path, "ard", 0.7, range(2, 3), attacks=more)
    text = compare_records([tmp_path], tmp_path / "out")
    assert "Attacked by more in some of its runs, so that the others may be too high: ard (Square)." in text
    assert "Attacked by more than the others" not in text
    runs(tmp_path, "ard", 0.7, range(2), attacks=more)
    text = compare_records([tmp_path], tmp_path / "out")
    assert "Attacked by more than the others, with which the worst case may be lower: ard (Square)." in text
    assert "in some of its runs" not in text


def test_attacks_of_one_name_are_told_apart_by_their_lengths(tmp_path: Path) -> None:
    runs(tmp_path, "pgd_at", 0.7, **of_length(steps=20))
    runs(tmp_path, "ard", 0.7, **of_length(steps=100))
    text = compare_records([tmp_path], tmp_path / "out")
    assert "APGD-CE is not as long in all runs: 100 steps (ard); 20 steps (pgd_at)." in text
    assert "Attacked by more" not in text
    runs(tmp_path, "ard", 0.7, **of_length(steps=20))
    assert "as long in all runs" not in compare_records([tmp_path], tmp_path / "out")
    runs(tmp_path, "ard", 0.7, **of_length())
    assert "as long in all runs" not in compare_records([tmp_path], tmp_path / "out")  # not said


def test_last_epochs_name_runs_that_have_none(tmp_path: Path) -> None:
    runs(tmp_path, "ard", 0.7)
    runs(tmp_path, "ard", 0.6, range(2), name="last.")
    text = compare_records([tmp_path], tmp_path / "out", last=True)
    assert cells(text, "ard (last)")["seeds"] == "2"
    assert "Left out, without a record of the last epoch: ard (1 of 3 runs)." in text


def test_a_last_epoch_beside_a_selected_one_is_never_bold(tmp_path: Path) -> None:
    runs(tmp_path, "pgd_at", 0.6)
    runs(tmp_path, "ard", 0.8, name="last.")
    text = compare_records([tmp_path], tmp_path / "out", baseline="pgd_at")
    assert differences(text, "ard (last)")[1].endswith("] other epoch")
    assert differences(text, "ard (last)")[2].endswith("] other epoch")
    assert "Other epoch: one of the two was selected" in text
    assert "**" not in cells(text, "ard (last)")["Worst"]
    runs(tmp_path, "ard", 0.8)
    assert differences(compare_records([tmp_path], tmp_path / "out", baseline="pgd_at"), "ard")[1].startswith("**+20.0")


def test_a_row_of_one_easy_fold_is_no_baseline_by_itself(tmp_path: Path) -> None:
    for fold, worst in enumerate((0.9, 0.6)):
        of_fold(tmp_path, "pgd_at", fold, worst)
        of_fold(tmp_path, "ard", fold, worst)
    of_fold(tmp_path, "trades", 0, 0.89)
    text = compare_records([tmp_path], tmp_path / "out")
    assert "| Method − trades |" not in text
    assert "| Method − trades |" in compare_records([tmp_path], tmp_path / "out", baseline="trades")


def test_some_images_of_a_fold_are_not_compared_with_a_whole_one(tmp_path: Path) -> None:
    of_fold(tmp_path, "pgd_at", 0, 0.6, limit=100)
    of_fold(tmp_path, "pgd_at", 1, 0.6)
    assert len(group(load_records([tmp_path]))) == 2
    with pytest.raises(UserError, match="differ in n: 100 of a fold and of a fold"):
        compare_records([tmp_path], tmp_path / "out")


def test_copies_of_one_file_are_no_runs_of_their_own(tmp_path: Path) -> None:
    copied = {"path": "student.safetensors", "sha256": "c" * 64}
    runs(tmp_path, "pgd_at", 0.7)
    runs(tmp_path, "ard", 0.8, range(2), weights=copied)
    runs(tmp_path, "ard", 0.8, range(1), name="last.", weights=copied)  # the best epoch may be the last
    text = compare_records([tmp_path], tmp_path / "out")
    assert "One and the same weights, which are no runs of their own: ard (seed 0) = ard (seed 1)." in text
    runs(tmp_path, "ard", 0.8, range(1, 2))
    assert "One and the same weights" not in compare_records([tmp_path], tmp_path / "out")
