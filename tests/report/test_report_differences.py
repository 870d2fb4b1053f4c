"""ard.report.comparison: differences between rows and the names in the picture."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from matplotlib.figure import Figure
from small_records import attack, cells, differences, first, write, write_study

from ard.artifacts.record_file import read_record, write_record
from ard.core.errors import UserError
from ard.report.comparison import compare_records
from ard.report.grouping import group, load_records
from ard.report.pictures.labels import place_labels
from ard.report.pictures.ladders import _places, reliable
from ard.report.pictures.marks import bars
from ard.report.pictures.ranking import _Point

pytestmark = pytest.mark.usefixtures("no_picture")


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


def test_last_epochs_are_compared_where_they_are_asked_for(study: Path) -> None:
    """Then nothing of the selected ones is in it, and the last ones lead, are the baseline and have differences."""
    for method, accuracy in (("pgd_at", 0.76), ("ard", 0.72)):
        for seed in range(3):
            write(study / method / f"seed{seed}/last.evaluation.json", first(0.9), first(accuracy))
    text = compare_records([study], study / "out", last=True, ladders=[["ard", "pgd_at"]])
    assert "| Method − pgd_at (last) |" in text
    assert differences(text, "ard (last)")[1].startswith("**−4.0 [")
    assert "| ard (last) → pgd_at (last) | **+4.0 [" in text
    assert cells(text, "pgd_at (last)")["Worst"].startswith("**76.0 ± ")
    assert "| ard |" not in text
    assert differences(compare_records([study], study / "out", baseline="pgd_at"), "ard")[1].startswith("+10.0 [")
    for path in study.rglob("last.evaluation.json"):
        path.unlink()
    with pytest.raises(UserError, match="--last: no record of a last epoch; expected one, of"):
        compare_records([study], study / "out", last=True)


def folded(
    root: Path,
    method: str,
    accuracies: list[float],
    seeds: int = 2,
    digest: str = "abcdef0123456789",
    own: bool = False,
    n: int = 500,
) -> None:
    for fold, accuracy in enumerate(accuracies):
        for seed in range(fold * seeds, (fold + 1) * seeds) if own else range(seeds):
            place = root / method / f"fold{fold}" / f"seed{seed}" / "evaluation.json"
            data = {
                "name": "Digits",
                "class_path": "ard.data.Digits",
                "init_args": {"fold": fold},
                "digest": f"{fold}{digest[1:]}",
            }
            run = {"study": "folds", "method": method, "role": "student", "checkpoint": "best", "seed": seed}
            write(place, first(0.9, n), first(accuracy, n), dataset=data, run={**run, "swept": {}, "teachers": {}})


def test_rows_of_fewer_folds_say_so_and_the_best_is_bold_by_the_runs_of_both_alone(tmp_path: Path) -> None:
    folded(tmp_path, "pgd_at", [0.70, 0.71, 0.20])
    folded(tmp_path, "ard", [0.60, 0.61])
    text = compare_records([tmp_path], tmp_path / "out", baseline="pgd_at")
    assert differences(text, "ard")[1].startswith("**−10.0 [")
    assert "n 1000 to 1500" in text
    assert cells(text, "ard")["Worst"].startswith("60.5 ± ")


def test_ladders_stand_one_place_apart_and_a_last_epoch_that_ranks_has_its_interval() -> None:
    assert _places([2, 1, 2]) == [0, -1, -3, -5, -6]
    accuracy = (80.0, 79.0, 81.0)
    assert [_Point(0, accuracy, hollow=True, ranks=ranks).shown for ranks in (True, False)] == [(79.0, 81.0), (80.0, 80.0)]


@pytest.mark.parametrize("own", [False, True], ids=["the same seeds", "seeds of its own"])
def test_folds_are_one_data_set_and_a_seed_of_a_fold_is_a_run(tmp_path: Path, own: bool) -> None:
    folded(tmp_path, "pgd_at", [0.70, 0.72], own=own)
    folded(tmp_path, "ard", [0.80, 0.82], own=own)
    text = compare_records([tmp_path], tmp_path / "out", baseline="pgd_at")
    assert "n 1000" in text
    assert "2 seeds of each of 2 folds. ± is the standard deviation over runs." in text
    assert cells(text, "ard")["seeds"] == "2 × 2 folds"
    assert cells(text, "ard")["Worst"].startswith("**81.0 ± ")
    assert differences(text, "ard")[1].startswith("**+10.0 [+")
    assert differences(text, "ard")[3] == "4"


def test_runs_of_folds_are_paired_where_both_rows_have_them(tmp_path: Path) -> None:
    folded(tmp_path, "pgd_at", [0.7, 0.7, 0.7])
    folded(tmp_path, "ard", [0.8, 0.9])
    text = compare_records([tmp_path], tmp_path / "out", baseline="pgd_at")
    assert differences(text, "ard")[1].startswith("+15.0 [")
    assert differences(text, "ard")[3] == "4"


def test_a_rows_own_interval_is_over_folds_too(tmp_path: Path) -> None:
    folded(tmp_path, "ard", [0.80, 0.82], seeds=3)
    (row,) = group(load_records([tmp_path]))
    assert row.by_fold(row.accuracies("worst")) == [pytest.approx(0.80), pytest.approx(0.82)]
    assert (row.n, row.seeds, row.folds) == (1000, {3}, 2)
    assert bars([row]) == "95 % interval over test images (Wilson) and folds (t)"


def test_each_fold_counts_once_however_many_seeds_it_has(tmp_path: Path) -> None:
    """As a study leaves it that was stopped inside a fold; the differences are means over folds, too."""
    for method, accuracy in (("ard", 0.9), ("pgd_at", 0.7)):
        folded(tmp_path, method, [accuracy, 0.7, 0.7], seeds=1)
        for seed in (1, 2):
            shutil.copytree(tmp_path / method / "fold0" / "seed0", place := tmp_path / method / "fold0" / f"seed{seed}")
            record = read_record(place / "evaluation.json")
            assert record.run is not None
            write_record(place / "evaluation.json", replace(record, run=replace(record.run, seed=seed)))
    text = compare_records([tmp_path], tmp_path / "out", baseline="pgd_at")
    assert cells(text, "ard")["Worst"].startswith("76.7 ± ")
    assert differences(text, "ard")[1].startswith("+6.7 [")
    assert cells(text, "ard")["seeds"] == "1 to 3 × 3 folds"
    assert "1 to 3 seeds of each of 3 folds" in text
    (row,) = (row for row in group(load_records([tmp_path])) if row.method == "ard")
    mean, low, high = row.percent("worst")
    assert low < mean < high
    assert (low + high) / 2 == pytest.approx(mean, abs=3)


def test_methods_without_a_last_epoch_are_named_where_last_ones_are_compared(tmp_path: Path) -> None:
    write(tmp_path / "s/ard/seed0/evaluation.json", first(0.9), first(0.6))
    write(tmp_path / "s/ard/seed0/last.evaluation.json", first(0.9), first(0.5))
    write(tmp_path / "s/trades/seed0/evaluation.json", first(0.9), first(0.8))
    text = compare_records([tmp_path], tmp_path / "out", last=True)
    assert "Left out, without a record of the last epoch: trades." in text
    assert "Left out" not in compare_records([tmp_path], tmp_path / "out")


def test_no_step_of_a_ladders_picture_leads_over_a_row_that_a_check_contradicts() -> None:
    a, b, c, d = (SimpleNamespace(name=name, warning="UNRELIABLE" * (name == "b")) for name in "abcd")
    assert reliable([[a, b, c, d], [b], [a, c]]) == [[a], [c, d], [a, c]]


def test_a_fold_of_other_images_is_not_compared(tmp_path: Path) -> None:
    folded(tmp_path, "pgd_at", [0.7, 0.7])
    folded(tmp_path, "ard", [0.8, 0.8], digest="ffffffffffffffff")
    with pytest.raises(UserError, match="are of fold 0, but of other images"):
        compare_records([tmp_path], tmp_path / "out")
    write(tmp_path / "whole/seed0/evaluation.json", first(0.9), first(0.5))
    with pytest.raises(UserError, match="differ in dataset"):
        compare_records([tmp_path / "ard", tmp_path / "whole"], tmp_path / "out")


def test_a_fold_of_fewer_images_is_not_compared(tmp_path: Path) -> None:
    folded(tmp_path, "pgd_at", [0.7, 0.7])
    folded(tmp_path, "ard", [0.8, 0.8], n=200)
    with pytest.raises(UserError, match=r"are of fold 0, one of (200|500) images, the other of (200|500): expected as many"):
        compare_records([tmp_path], tmp_path / "out", mixed=True)


def test_rows_that_were_attacked_by_more_are_named(study: Path) -> None:
    """Only how many transfers there were: each row has others."""
    text = compare_records([study], study / "out")
    assert "Attacked by more" not in text
    names = ["FGSM", "Odd-7", "Transfer a.safetensors (0)", "Transfer b.safetensors (1)", "KL to teacher"]
    more = tuple(attack(name, 0.8, settings={}) for name in names)
    write(study / "ard/seed0/evaluation.json", first(0.9), first(0.8), attacks=more)
    for method in ("more", "same"):
        write(
            study / f"{method}/seed0/evaluation.json", first(0.9), first(0.8), attacks=more[: 3 if method == "more" else 2]
        )
    text = compare_records([study], study / "out")
    said = "Attacked by more than the others, with which the worst case may be lower: "
    assert said in text
    assert "ard (2 × Transfer, KL to teacher)" in text
    assert "more (Transfer)" in text


def test_equal_is_only_what_lies_within_a_point_and_what_is_not_decided_says_what_it_needs(tmp_path: Path) -> None:
    study = tmp_path / "study"
    for seed in range(3):
        write(study / f"pgd_at/seed{seed}/evaluation.json", first(0.9, 9000), first(0.7, 9000))
        write(study / f"same/seed{seed}/evaluation.json", first(0.9, 9000), first(0.7001, 9000))
        write(study / f"unsteady/seed{seed}/evaluation.json", first(0.9, 9000), first(0.7 + 0.02 * seed, 9000))
    text = compare_records([study], tmp_path / "out", baseline="pgd_at")
    assert differences(text, "same")[1].endswith("] equal")
    assert differences(text, "same")[4].startswith("enough")
    assert differences(text, "unsteady")[1].endswith("] n.s.")
    assert " ×" in differences(text, "unsteady")[4]


def test_a_ladder_compares_each_row_with_the_one_before_it(tmp_path: Path) -> None:
    for name, accuracies in {"pgd_at": [0.70, 0.72], "one_hot": [0.80, 0.82], "ard": [0.80, 0.82]}.items():
        folded(tmp_path, name, accuracies)
    text = compare_records([tmp_path], tmp_path / "out", ladders=[["pgd_at", "one_hot", "ard"]])
    steps = {
        line.split(" | ")[0].strip("| "): line.split(" | ")[1]
        for line in text.splitlines()
        if line.startswith("|") and "→" in line
    }
    assert steps.keys() >= {"pgd_at → one_hot", "one_hot → ard"}
    assert steps["pgd_at → one_hot"].startswith("**+10.0 [+")
    assert steps["one_hot → ard"] == "+0.0 [−0.3, +0.3] equal"  # of 500 equal verdicts twice
    assert "Steps up in the worst case, significantly: pgd_at → one_hot (of 2)." in text
    assert (tmp_path / "out/ladder.png").is_file()
    for rows, words in (
        (["pgd_at"], "expected two rows"),
        (["pgd_at", "pgd_at"], "a step from pgd_at to itself"),
        (["pgd_at", "kd"], "--ladders kd: no such row; expected one of"),
    ):
        with pytest.raises(UserError, match=words):
            compare_records([tmp_path], tmp_path / "other", ladders=[rows])
    assert not (tmp_path / "other").exists()


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
