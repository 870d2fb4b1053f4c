"""ard.report: what a table says must follow from the bits of the records, and nothing may be claimed beyond them."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from ard.bits import pack, unpack
from ard.errors import UserError
from ard.report import compare
from ard.report.labels import place_labels
from ard.report.records import group, load, radius
from ard.report.table import duration

N = 500
BLOCK = {"lr": 0.1, "average": None, "monitor": "val/robust_acc"}


def first(accuracy: float) -> np.ndarray:
    """Right on the first images: two of these are nested, so their paired difference has one sign on every image."""
    return np.arange(N) < round(accuracy * N)


def drawn(accuracy: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(N) < round(accuracy * N)


def write(path: Path, clean: np.ndarray, worst: np.ndarray, **changes: Any) -> None:
    record = {
        "weights": {"path": "student.safetensors", "sha256": f"{abs(hash(str(path))):064x}"},
        "model": {"class_path": "ard.models.mobilenet.MobileNetV2", "init_args": {}},
        "dataset": {"name": "Digits", "digest": "0123456789abcdef"},
        "split": "test",
        "suite": "quick",
        "params": 12345,
        "n": len(clean),
        "threat": {"norm": "Linf", "eps": 0.15},
        "clean_acc": float(clean.mean()),
        "attacks": [{"name": name, "settings": {}, "accuracy": float(worst.mean())} for name in ("FGSM", "Odd-7")],
        "robust_acc": float(worst.mean()),
        "bits": {"clean": pack(clean), "worst": pack(worst)},
        "checks": [{"id": "V1", "verdict": "pass"}, {"id": "V4", "verdict": "pass"}],
        "verdict": "sound",
        "recipe": None,
        "teacher": None,
        "training": {"block": BLOCK, "epochs": 40, "precision": "32-true", "seconds": 72.0, "seed": 0},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**record, **changes}))


def cells(text: str, method: str) -> dict[str, str]:
    """The row of a method in the first table, by column."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return dict(zip(lines[0], next(line for line in lines if line[0] == method), strict=True))


def differences(text: str, method: str) -> list[str]:
    table = text[text.index("| Method − ") :]
    return next(line for line in table.splitlines() if line.startswith(f"| {method} |")).split(" | ")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A teacher, a strong distilled student and a weaker one without a teacher."""
    root = tmp_path / "digits"
    weights = {"path": "student.safetensors", "sha256": "f" * 64}
    write(root / "teachers/robust/evaluation.json", first(0.99), first(0.9), weights=weights)
    write(root / "ard/seed0/evaluation.json", first(0.95), first(0.8), teacher="f" * 64)
    write(root / "ard/seed0/last.evaluation.json", first(0.94), first(0.78), teacher="f" * 64)
    write(root / "pgd_at/seed0/evaluation.json", first(0.95), first(0.7))
    return root


def test_pack_round_trip() -> None:
    for n in (1, 7, 8, 13, 360):
        bits = np.random.default_rng(n).random(n) < 0.5
        assert np.array_equal(unpack(pack(bits), n), bits)
    with pytest.raises(ValueError, match="expected 3 for 17 images"):
        unpack(pack(np.ones(16, bool)), 17)


def test_rows_order_and_names(study: Path) -> None:
    text = compare([study], study / "out")
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
    dataset = {"name": "CIFAR-10 (JPEG)", "digest": "0123456789abcdef"}
    write(tmp_path / "pgd_at" / "seed0" / "evaluation.json", first(0.8), first(0.5), dataset=dataset)
    assert "dataset CIFAR-10 (JPEG), split test" in compare([tmp_path], tmp_path)


def test_unknown_teacher_is_its_hash(tmp_path: Path) -> None:
    write(tmp_path / "ard/seed0/evaluation.json", first(0.9), first(0.7), teacher="abcdef0123" + "0" * 54)
    assert cells(compare([tmp_path], tmp_path), "ard")["Teacher"] == "abcdef01"


@pytest.mark.parametrize("given", ["", "ard", "ard/seed0"])
def test_any_level_gives_the_recipe_its_name(study: Path, given: str) -> None:
    assert "80.0" in cells(compare([study / given], study / "out"), "ard")["Worst"]


def test_one_name_in_two_studies_is_two_methods(study: Path) -> None:
    other = study.parent / "other"
    write(other / "ard/seed0/evaluation.json", first(0.9), first(0.6))
    text = compare([study, other, study / "ard"], study / "out")
    assert "80.0" in cells(text, "digits/ard")["Worst"]
    assert "60.0" in cells(text, "other/ard")["Worst"]
    write(study / "robust/seed0/evaluation.json", first(0.9), first(0.5))  # a teacher's name is no clash
    assert "50.0" in cells(compare([study], study / "out"), "robust")["Worst"]
    assert cells(text, "digits/ard")["seeds"] == "1"  # found twice, read once


def test_bold_only_where_significant(study: Path) -> None:
    row = cells(compare([study], study / "out"), "ard")
    assert row["Worst"] == "**80.0**"  # 50 of 500 images, all one way
    assert row["Clean"] == "95.0 n.s."  # the very same images
    write(study / "pgd_at/seed0/evaluation.json", first(0.95), drawn(0.79, 1))  # 5 images net, many each way
    assert cells(compare([study], study / "out"), "ard")["Worst"] == "80.0 n.s."


def test_teachers_and_last_checkpoints_do_not_compete(study: Path) -> None:
    write(study / "pgd_at/seed0/last.evaluation.json", first(1.0), first(0.95))
    text = compare([study], study / "out")
    assert "**" not in cells(text, "teachers/robust")["Worst"] + cells(text, "pgd_at (last)")["Worst"]
    assert cells(text, "ard")["Worst"] == "**80.0**"


def test_differences_against_the_strongest_without_a_teacher(study: Path) -> None:
    write(study / "natural/seed0/evaluation.json", first(0.99), first(0.0))
    text = compare([study], study / "out")
    assert "| Method − pgd_at |" in text
    assert differences(text, "ard")[1].startswith("**+10.0 [+7")  # sd of 50 in 500: 1.34 points
    assert differences(text, "ard")[2] == "+0.0 [+0.0, +0.0] n.s."
    assert differences(text, "natural")[1].startswith("**−70.0 [−7")
    assert differences(compare([study], study / "out", baseline="natural"), "ard")[1].startswith("**+80.0")
    with pytest.raises(UserError, match=r"--baseline trades: no such row; expected one of .*ard"):
        compare([study], study / "out", baseline="trades")


def test_seeds(study: Path) -> None:
    assert "one seed: the intervals cover the choice of test images" in compare([study], study / "out")
    write(study / "ard/seed1/evaluation.json", first(0.95), first(0.84), teacher="f" * 64)
    text = compare([study], study / "out")
    assert cells(text, "ard")["Worst"].strip("*") == "82.0 ± 2.8"  # sample deviation of 80 and 84: 2√2
    assert "1 to 2 seeds." in text
    assert differences(text, "ard")[1].startswith("**+10.0")  # seed 0 alone: the baseline has no seed 1
    assert differences(text, "ard")[3].startswith("1 ")
    write(study / "pgd_at/seed1/evaluation.json", first(0.95), first(0.7))
    assert differences(compare([study], study / "out"), "ard")[1].startswith("**+12.0")


def test_unreliable_is_never_shown_bare(study: Path) -> None:
    checks = [{"id": "V1", "verdict": "pass"}, {"id": "V4", "verdict": "fail"}, {"id": "M3", "verdict": "fail"}]
    write(study / "masked/seed0/evaluation.json", first(0.9), first(0.876), verdict="unreliable", checks=checks)
    text = compare([study], study / "out")
    row = cells(text, "masked")
    assert {row[column] for column in ("FGSM", "Odd-7", "Worst")} == {"UNRELIABLE (M3, V4)"}
    assert "87.6" not in text
    assert "0.876" not in (study / "out/table.csv").read_text()
    assert "| Method − pgd_at |" in text
    assert differences(text, "masked")[1] == "UNRELIABLE (M3, V4)"
    assert cells(text, "ard")["Worst"] == "**80.0**"
    assert "Left out as unreliable: masked" in text
    write(study / "masked/seed1/evaluation.json", first(0.9), first(0.5))  # one bad seed spoils the mean
    assert cells(compare([study], study / "out"), "masked")["Worst"] == "UNRELIABLE (M3, V4)"


def test_training_column_names_what_differs(study: Path) -> None:
    training = {"epochs": 40, "precision": "32-true", "seconds": 5.0}
    write(study / "teachers/robust/evaluation.json", first(1), first(0.9), training={**training, "block": {"lr": 9}})
    assert "Training" not in cells(compare([study], study / "out"), "ard")
    block = {**BLOCK, "average": 0.99, "monitor": "val/clean_acc"}
    write(study / "kd/seed0/evaluation.json", first(0.9), first(0.1), training={**training, "block": block})
    write(study / "foreign/evaluation.json", first(0.9), first(0.1), training=None)
    text = compare([study], study / "out")
    assert cells(text, "kd")["Training"] == "average 0.99, monitor val/clean_acc"
    assert cells(text, "ard")["Training"] == "average none, monitor val/robust_acc"
    assert cells(text, "foreign")["training time"] == "–"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"threat": {"norm": "Linf", "eps": 8 / 255}}, "threat: Linf 0.15 and Linf 8/255"),
        ({"threat": {"norm": "L2", "eps": 0.15}}, "threat: Linf 0.15 and L2 0.15"),
        ({"suite": "full"}, "suite: quick and full"),
        ({"split": "val"}, "split: test and val"),
        (
            {"dataset": {"name": "Digits", "digest": "feedbeef00"}},
            r"dataset: Digits \(01234567\) and Digits \(feedbeef\)",
        ),
    ],
)
def test_what_does_not_compare_is_refused(study: Path, change: dict[str, Any], words: str) -> None:
    write(study / "rslad/seed0/evaluation.json", first(0.99), first(0.97), **change)
    with pytest.raises(UserError, match=rf"ard.seed0.evaluation.json and .*rslad.*evaluation.json differ in {words}"):
        compare([study], study / "out")
    text = compare([study], study / "out", mixed=True)
    assert next(iter(change)) in cells(text, "rslad")
    assert "**" not in text
    assert "n.s." not in text
    assert "Method −" not in text


def test_another_number_of_images_is_refused(study: Path) -> None:
    write(study / "rslad/seed0/evaluation.json", first(0.99)[:100], first(0.97)[:100])
    with pytest.raises(UserError, match="differ in n: 500 and 100"):
        compare([study], study / "out")
    assert cells(compare([study], study / "out", mixed=True), "rslad")["n"] == "100"


def test_seeds_under_different_threats_are_not_averaged(study: Path) -> None:
    write(study / "ard/seed1/evaluation.json", first(0.9), first(0.2), threat={"norm": "Linf", "eps": 0.3})
    rows = [row for row in group(load([study])) if row.label == "ard"]
    assert sorted(len(row.records) for row in rows) == [1, 1]


def test_damaged_records_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"found no evaluation.json"):
        compare([tmp_path], tmp_path)
    path = tmp_path / "ard/seed0/evaluation.json"
    for content in ("{", "[]", "{}", '{"suite": 1}'):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        with pytest.raises(UserError, match=r"ard/seed0/evaluation.json (has no|is damaged)") as caught:
            compare([tmp_path], tmp_path)
        assert "\n" not in str(caught.value)
    write(path, first(0.9), first(0.8), bits={"clean": pack(first(0.9)), "worst": pack(first(0.8)[:99])})
    with pytest.raises(UserError, match="expected 63 for 500 images"):
        compare([tmp_path], tmp_path)


def test_csv_says_what_the_table_says(study: Path) -> None:
    text = compare([study], study / "out")
    with (study / "out/table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    for row in rows:
        shown = cells(text, row["method"] + (" (last)" if row["checkpoint"] == "last" else ""))
        assert shown["Worst"].strip("*").split()[0] == f"{100 * float(row['worst']):.1f}"


def test_radii_and_durations_as_people_write_them() -> None:
    assert [radius(e) for e in (0.15, 8 / 255, 0.2, 0.0314, 0.5, 0, 1)] == [
        "0.15",
        "8/255",
        "0.2",
        "0.0314",
        "0.5",
        "0",
        "1",
    ]
    assert [duration(s) for s in (72.4, 59.6, 5, 7260, None)] == ["1 min 12 s", "1 min 0 s", "5 s", "2 h 1 min", "–"]


def test_labels_of_a_crowd_do_not_overlap() -> None:
    axes = Figure(figsize=(6, 4), dpi=100).add_subplot(xlim=(0, 1), ylim=(0, 1))
    labels = [(f"method {k}", (0.5 + 0.01 * k, 0.5), "black") for k in range(8)]
    boxes = place_labels(axes, labels, [])
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert all(axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 for box in boxes)


def test_reads_files_only() -> None:
    code = "import sys, ard.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
