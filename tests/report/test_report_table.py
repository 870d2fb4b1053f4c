"""ard.report.table: what a table says must follow from the bits of the records, and no more is claimed."""

import csv
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_records import (
    BLOCK,
    TRAINING,
    attack,
    cells,
    checks,
    dataset,
    differences,
    drawn,
    first,
    write,
    write_study,
)

from ard.artifacts.facts import Pruned, TrainingFacts
from ard.report.comparison import compare_records
from ard.report.evidence_card import evidence_card

pytestmark = pytest.mark.usefixtures("no_picture")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_study(tmp_path / "digits")


def test_rows_order_and_names(study: Path, monkeypatch) -> None:
    monkeypatch.undo()  # with its picture
    text = compare_records([study], study / "out")
    methods = [line.split(" | ")[0].strip("| ") for line in text.splitlines() if line.startswith("| ")]
    assert methods[2:6] == ["teachers/robust", "ard", "ard (last)", "pgd_at"]
    row = cells(text, "ard")
    assert (row["Teacher"], row["Student"], row["Odd-7"]) == ("robust", "MobileNetV2", "80.0")
    assert (row["params"], row["training time"], row["seeds"]) == ("12,345", "1 min 12 s", "1")
    assert cells(text, "pgd_at")["Teacher"] == "–"
    assert "Training" not in row
    assert "dataset Digits, split test, n 500, threat Linf 0.15, suite quick" in text
    assert f"Picture: {study / 'out/tradeoff.png'}" in text
    assert (study / "out/table.md").read_text() == text
    assert (study / "out/tradeoff.png").read_bytes()[:4] == b"\x89PNG"


def test_a_data_set_with_a_bracket_in_its_name_keeps_it(tmp_path: Path) -> None:
    write(tmp_path / "pgd_at" / "seed0" / "evaluation.json", first(0.8), first(0.5), dataset=dataset("CIFAR-10 (JPEG)"))
    assert "dataset CIFAR-10 (JPEG), split test" in compare_records([tmp_path], tmp_path)


def test_unknown_teacher_is_its_hash(tmp_path: Path) -> None:
    write(tmp_path / "ard/seed0/evaluation.json", first(0.9), first(0.7), teacher="abcdef0123" + "0" * 54)
    assert cells(compare_records([tmp_path], tmp_path), "ard")["Teacher"] == "abcdef01"


def test_bold_only_where_significant(study: Path) -> None:
    assert cells(compare_records([study], study / "out"), "ard")["Worst"] == "80.0 one seed"  # which may turn it
    for seed in (1, 2):
        write(study / f"ard/seed{seed}/evaluation.json", first(0.95), first(0.8), teacher="f" * 64)
        write(study / f"pgd_at/seed{seed}/evaluation.json", first(0.95), first(0.7))
    row = cells(compare_records([study], study / "out"), "ard")
    assert row["Worst"] == "**80.0 ± 0.0**"  # 50 of 500 images, all one way, in every seed
    assert row["Clean"] == "95.0 ± 0.0 n.s."  # the very same images
    for seed in range(3):
        write(study / f"pgd_at/seed{seed}/evaluation.json", first(0.95), drawn(0.79, seed))  # 5 images net, many each way
    assert cells(compare_records([study], study / "out"), "ard")["Worst"] == "80.0 ± 0.0 n.s."


def test_many_rows_are_corrected_for(study: Path) -> None:
    """A difference that is significant alone, at p = 0.02, is not among ten of which nine are nothing."""
    for seed, worst in enumerate((0.715, 0.72, 0.725)):
        write(study / f"ard/seed{seed}/evaluation.json", first(0.95), first(worst), teacher="f" * 64)
        write(study / f"pgd_at/seed{seed}/evaluation.json", first(0.95), first(0.7))
    assert differences(compare_records([study], study / "out"), "ard")[1].startswith("**+2.0")
    for k in range(9):
        for seed in range(3):
            write(study / f"other{k}/seed{seed}/evaluation.json", first(0.95), first(0.7), teacher="f" * 64)
    assert differences(compare_records([study], study / "out", baseline="pgd_at"), "ard")[1].endswith("n.s.")


def test_teachers_and_last_checkpoints_do_not_compete(study: Path) -> None:
    write(study / "pgd_at/seed0/last.evaluation.json", first(1.0), first(0.95))
    text = compare_records([study], study / "out")
    assert "**" not in cells(text, "teachers/robust")["Worst"] + cells(text, "pgd_at (last)")["Worst"]
    assert cells(text, "ard")["Worst"] == "80.0 one seed"


def test_seeds(study: Path) -> None:
    assert "one seed: the intervals cover the choice of test images" in compare_records([study], study / "out")
    write(study / "ard/seed1/evaluation.json", first(0.95), first(0.84), teacher="f" * 64)
    text = compare_records([study], study / "out")
    assert cells(text, "ard")["Worst"] == "82.0 ± 2.8 one seed"  # sample deviation of 80 and 84: 2√2
    assert "1 to 2 seeds. ± is the standard deviation over runs." in text
    assert differences(text, "ard")[1].startswith("+10.0")  # seed 0 alone: the baseline has no seed 1
    assert differences(text, "ard")[3] == "1"
    write(study / "pgd_at/seed1/evaluation.json", first(0.95), first(0.7))
    assert differences(compare_records([study], study / "out"), "ard")[1].startswith("+12.0")


def test_unreliable_is_never_shown_bare(study: Path) -> None:
    failing = checks(V1="pass", V4="fail", M3="fail")
    write(study / "masked/seed0/evaluation.json", first(0.9), first(0.876), verdict="unreliable", checks=failing)
    text = compare_records([study], study / "out")
    row = cells(text, "masked")
    assert {row[column] for column in ("FGSM", "Odd-7", "Worst")} == {"UNRELIABLE (M3, V4)"}
    assert "87.6" not in text
    assert "0.876" not in (study / "out/table.csv").read_text()
    assert "| Method − pgd_at |" in text
    assert differences(text, "masked")[1] == "UNRELIABLE (M3, V4)"
    assert cells(text, "ard")["Worst"] == "80.0 one seed"
    assert "Left out as unreliable: masked" in text
    write(study / "masked/seed1/evaluation.json", first(0.9), first(0.5))  # one bad seed spoils the mean
    assert cells(compare_records([study], study / "out"), "masked")["Worst"] == "UNRELIABLE (M3, V4)"


def test_augmentation_is_shown_where_it_differs_and_rows_stay_comparable(study: Path) -> None:
    def augmented(**switches: object) -> TrainingFacts:
        base = {"class_path": "ard.data.Digits", "init_args": {"batch_size": 128, **switches}}
        return replace(
            TRAINING, config={"data": {"class_path": "ard.data.Mixed", "init_args": {"base": base, "cutmix": 1.0}}}
        )

    assert "Training" not in cells(compare_records([study], study / "out"), "ard")
    write(study / "kd/seed0/evaluation.json", first(0.9), first(0.1), training=augmented(rotation=15))
    text = compare_records([study], study / "out")
    assert cells(text, "kd")["Training"] == "extra augmentation rotation 15, cutmix 1.0"
    assert cells(text, "ard")["Training"] == "extra augmentation none"  # of a time when there was none
    pruned = Pruned(how="magnitude", keep=0.5, of="0" * 64, nonzero=6000, seed=0)
    write(study / "ard/seed0/evaluation.json", first(0.9), first(0.1), pruned=pruned)
    text = compare_records([study], study / "out")
    assert cells(text, "magnitude-0.5-then-ard")["Training"] == "extra augmentation not said"
    write(study / "kd/seed0/evaluation.json", first(0.9), first(0.1), training=augmented(augmentation="idbh_weak"))
    assert cells(compare_records([study], study / "out"), "kd")["Training"] == "extra augmentation idbh_weak, cutmix 1.0"


def test_a_row_of_all_labels_says_so_beside_one_of_few(study: Path) -> None:
    few = replace(TRAINING, config={"data": {"class_path": "ard.data.KnownLabels", "init_args": {"labelled": 100}}})
    write(study / "kd/seed0/evaluation.json", first(0.9), first(0.1), training=few)
    text = compare_records([study], study / "out")
    assert cells(text, "kd")["Training"] == "labels labelled 100"
    assert cells(text, "ard")["Training"] == "labels all"


def test_a_row_of_several_processes_says_so_beside_one_of_one(study: Path) -> None:
    write(study / "kd/seed0/evaluation.json", first(0.9), first(0.1), training=replace(TRAINING, processes=8))
    text = compare_records([study], study / "out")
    assert [cells(text, name)["Training"] for name in ("kd", "ard")] == ["processes 8", "processes 1 or not said"]


def test_training_column_names_what_differs(study: Path) -> None:
    other = replace(TRAINING, block={"lr": 9})
    write(study / "teachers/robust/evaluation.json", first(1), first(0.9), training=other)
    assert "Training" not in cells(compare_records([study], study / "out"), "ard")
    block = {**BLOCK, "average": 0.99, "monitor": "val/clean_acc"}
    write(study / "kd/seed0/evaluation.json", first(0.9), first(0.1), training=replace(TRAINING, block=block))
    write(study / "foreign/evaluation.json", first(0.9), first(0.1), training=None)
    text = compare_records([study], study / "out")
    assert cells(text, "kd")["Training"] == "average 0.99, monitor val/clean_acc"
    assert cells(text, "ard")["Training"] == "average none, monitor val/robust_acc"
    assert cells(text, "foreign")["training time"] == "–"


def test_an_optimiser_and_a_rising_radius_are_words_and_older_records_have_neither(study: Path) -> None:
    arguments = {"betas": [0.9, 0.99], "eps": 1e-8}
    optimizer = {"class_path": "torch.optim.AdamW", "init_args": arguments}
    block = {**BLOCK, "optimizer": optimizer, "eps_ramp": [0.26, 0.76]}
    write(study / "kd/seed0/evaluation.json", first(0.9), first(0.1), training=replace(TRAINING, block=block))
    text = compare_records([study], study / "out")
    said = "optimizer AdamW (betas [0.9, 0.99], eps 1e-08), eps_ramp 0.26 to 0.76"
    assert cells(text, "kd")["Training"] == said
    assert cells(text, "ard")["Training"] == "optimizer SGD, eps_ramp none"


def test_csv_says_what_the_table_says(study: Path) -> None:
    text = compare_records([study], study / "out")
    with (study / "out/table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    for row in rows:
        shown = cells(text, row["method"] + (" (last)" if row["checkpoint"] == "last" else ""))
        assert shown["Worst"].strip("*").split()[0] == f"{100 * float(row['worst']):.1f}"


def autoattacked(pgd: float, whole: float | None, **more: Any) -> dict[str, Any]:
    """What a record of the standard suite says, the parts of AutoAttack that saw every image included."""
    least = pgd if whole is None else whole
    parts = [attack("APGD-CE", 0.9, group="AutoAttack"), attack("Square", least, 480, "APGD-CE", group="AutoAttack")]
    attacks = (attack("FGSM", 0.9), attack("PGD-20", pgd), attack("MT", pgd, 480, "PGD-20"), *parts)
    probes = (attack("gaussian noise", 0.8),)
    return {"schema": 2, "suite": "standard", "attacks": attacks, "probes": probes, "autoattack_acc": whole, **more}


@pytest.fixture
def attacked(tmp_path: Path) -> Path:
    """Two seeds with AutoAttack, a row that it left out, and one that cannot be believed."""
    root = tmp_path / "standard"
    for seed, pgd, whole in ((0, 0.8, 0.77), (1, 0.84, 0.79)):
        write(root / f"ard/seed{seed}/evaluation.json", first(0.95), first(whole), **autoattacked(pgd, whole))
    write(root / "pgd_at/seed0/evaluation.json", first(0.95), first(0.6), **autoattacked(0.61, None))
    doubtful = autoattacked(0.876, 0.866, verdict="unreliable", checks=checks(O10="fail", O6="fail"))
    write(root / "masked/seed0/evaluation.json", first(0.95), first(0.86), **doubtful)
    return root


def test_columns_are_attacks_that_saw_every_image_then_autoattack(attacked: Path) -> None:
    row = cells(compare_records([attacked], attacked / "out"), "ard")
    columns = list(row)
    assert columns[columns.index("Clean") : columns.index("params")] == ["Clean", "FGSM", "PGD-20", "AA", "Worst"]
    assert row["PGD-20"] == "82.0 ± 2.8"
    assert row["AA"] == "78.0 ± 1.4"  # sample deviation of 77 and 79: √2
    assert cells((attacked / "out/table.md").read_text(), "pgd_at")["AA"] == "–"


def test_autoattack_of_some_seeds_is_no_mean_over_seeds(attacked: Path) -> None:
    write(attacked / "ard/seed2/evaluation.json", first(0.95), first(0.7), **autoattacked(0.8, None))
    text = compare_records([attacked], attacked / "out")
    row = cells(text, "ard")
    assert (row["seeds"], row["AA"]) == ("3", "–")
    assert "ard +" not in text.split("overestimates")[1].splitlines()[0]


def test_overestimation_stands_below_the_settings(attacked: Path) -> None:
    lines = [line for line in compare_records([attacked], attacked / "out").splitlines() if line]
    below = lines[next(k for k, line in enumerate(lines) if line.startswith("dataset ")) + 1]
    assert below.startswith("PGD-20 overestimates")
    assert below.endswith(": ard +4.0; masked UNRELIABLE (O6, O10).")  # the mean of 80 − 77 and 84 − 79
    assert "pgd_at" not in below


def test_an_unreliable_row_hides_autoattack(attacked: Path) -> None:
    text = compare_records([attacked], attacked / "out")
    row = cells(text, "masked")
    assert {row[column] for column in ("FGSM", "PGD-20", "AA", "Worst")} == {"UNRELIABLE (O6, O10)"}
    for whole in (text, (attacked / "out/table.csv").read_text()):
        assert not [number for number in ("86.6", "87.6", "0.866", "0.876") if number in whole]


def test_csv_has_autoattack(attacked: Path) -> None:
    compare_records([attacked], attacked / "out")
    with (attacked / "out/table.csv").open(newline="") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert float(rows["ard"]["AA"]) == pytest.approx(0.78)
    assert float(rows["ard"]["AA sd"]) == pytest.approx(0.02 / 2**0.5)
    assert rows["pgd_at"]["AA"] == ""


def test_without_autoattack_nothing_speaks_of_it(study: Path) -> None:
    text = compare_records([study], study / "out")
    assert "AA" not in cells(text, "ard")
    assert "overestimates" not in text
    assert "AA" not in (study / "out/table.csv").read_text()


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "+1", "-1", "@SUM(1)"])
def test_a_name_is_no_formula_in_a_spreadsheet(tmp_path: Path, name: str) -> None:
    run = {"study": "odd", "method": name, "role": "student", "checkpoint": "best", "seed": 0, "swept": {}, "teachers": {}}
    write(tmp_path / "odd/seed0/evaluation.json", first(0.9), first(0.7), run=run)
    compare_records([tmp_path / "odd"], tmp_path / "out")
    cells = next(csv.reader((tmp_path / "out/table.csv").read_text().splitlines()[1:]))
    assert cells[0] == f"'{name}"


def test_no_name_begins_a_paragraph_of_its_own(tmp_path: Path, monkeypatch) -> None:
    """Neither in the table and below it, nor on the card, nor in what a record says of itself."""
    monkeypatch.undo()  # with its picture
    lie = "odd $\\frac{$\n\n**Above all, significantly**\x1b[2J"  # half a formula, too, for who draws it
    run = {"study": "odd", "method": lie, "role": "student", "checkpoint": "best", "seed": 0, "swept": {}, "teachers": {}}
    data = {"name": lie, "class_path": "ard.data.Digits", "init_args": {}, "digest": "0123456789abcdef"}
    for name, changes in (("odd", {"run": run}), ("pgd_at", {})):
        record = write(tmp_path / f"odd/{name}/seed0/evaluation.json", first(0.9), first(0.7), dataset=data, **changes)
    for text in (compare_records([tmp_path / "odd"], tmp_path / "out"), evidence_card(record), str(record)):
        assert "Above all" in text
        assert not re.search(r"^[*]*Above all", text, re.MULTILINE)
        assert "\x1b" not in text
