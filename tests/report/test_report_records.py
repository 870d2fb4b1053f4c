"""ard.report.grouping: which records lie below a folder, what they are called, and which of them compare."""

import builtins
import errno
import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from disturbances import CHANGES, Disk
from matplotlib.figure import Figure
from small_records import cells, dataset, first, write, write_study

from ard.artifacts.record_file import read_record, write_record
from ard.core.bits import pack, unpack
from ard.core.errors import UserError
from ard.core.text import duration, radius
from ard.report.comparison import compare_records
from ard.report.grouping import group, load_records
from ard.report.page.writing import write_pages
from ard.report.pictures.style import save

pytestmark = pytest.mark.usefixtures("no_picture")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_study(tmp_path / "digits")


def test_pack_round_trip() -> None:
    for n in (1, 7, 8, 13, 360):
        bits = np.random.default_rng(n).random(n) < 0.5
        assert np.array_equal(unpack(pack(bits), n), bits)
    with pytest.raises(ValueError, match="expected 3 for 17 images"):
        unpack(pack(np.ones(16, bool)), 17)


@pytest.mark.parametrize("given", ["", "ard", "ard/seed0"])
def test_any_level_gives_the_recipe_its_name(study: Path, given: str) -> None:
    assert "80.0" in cells(compare_records([study / given], study / "out"), "ard")["Worst"]


def test_a_teacher_is_known_by_its_record(study: Path) -> None:
    assert "90.0" in cells(compare_records([study / "teachers/robust"], study / "out"), "teachers/robust")["Worst"]


def test_one_name_in_two_studies_is_two_methods(study: Path) -> None:
    other = study.parent / "other"
    write(other / "ard/seed0/evaluation.json", first(0.9), first(0.6))
    text = compare_records([study, other, study / "ard"], study / "out")
    assert "80.0" in cells(text, "digits/ard")["Worst"]
    assert "60.0" in cells(text, "other/ard")["Worst"]
    write(study / "robust/seed0/evaluation.json", first(0.9), first(0.5))  # a teacher's name is no clash
    assert "50.0" in cells(compare_records([study], study / "out"), "robust")["Worst"]
    assert cells(text, "digits/ard")["seeds"] == "1"  # found twice, read once
    assert "70.0" in cells(text, "pgd_at")["Worst"]  # its name is no clash and stays short


def test_copies_of_a_run_are_one_row_and_each_is_whole_where_one_seed_differs(tmp_path: Path) -> None:
    for seed in range(3):
        write(tmp_path / f"local/ard/seed{seed}/evaluation.json", first(0.9), first(0.6 + seed / 10))
    shutil.copytree(tmp_path / "local", tmp_path / "published")
    found = {row.label: len(row.records) for row in group(load_records([tmp_path / "local", tmp_path / "published"]))}
    assert found == {"ard": 3}
    write(tmp_path / "local/ard/seed0/evaluation.json", first(0.9), first(0.3))
    found = {row.label: len(row.records) for row in group(load_records([tmp_path / "local", tmp_path / "published"]))}
    assert found == {"local/ard": 3, "published/ard": 3}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"threat": {"norm": "Linf", "eps": 8 / 255}}, "threat: Linf 0.15 and Linf 8/255"),
        ({"threat": {"norm": "L2", "eps": 0.15}}, "threat: Linf 0.15 and L2 0.15"),
        ({"suite": "full"}, "suite: quick and full"),
        ({"split": "val"}, "split: test and val"),
        (
            {"dataset": dataset(digest="feedbeef00"), "split": "val"},
            r"dataset: Digits \(01234567\) and Digits \(feedbeef\), in split: test and val; expected",
        ),
        (
            {"dataset": dataset(digest="feedbeef00")},
            r"dataset: Digits \(01234567\) and Digits \(feedbeef\)",
        ),
    ],
)
def test_what_does_not_compare_is_refused(study: Path, change: dict[str, Any], words: str) -> None:
    write(study / "rslad/seed0/evaluation.json", first(0.99), first(0.97), **change)
    with pytest.raises(UserError, match=rf"ard.seed0.evaluation.json and .*rslad.*evaluation.json differ in {words}"):
        compare_records([study], study / "out")
    text = compare_records([study], study / "out", mixed=True)
    assert next(iter(change)) in cells(text, "rslad")
    assert "**" not in text
    assert "n.s." not in text
    assert "Method −" not in text


def test_another_number_of_images_is_refused(study: Path) -> None:
    write(study / "rslad/seed0/evaluation.json", first(0.99)[:100], first(0.97)[:100])
    with pytest.raises(UserError, match="differ in n: 500 and 100"):
        compare_records([study], study / "out")
    assert cells(compare_records([study], study / "out", mixed=True), "rslad")["n"] == "100"


def test_seeds_under_different_threats_are_not_averaged(study: Path) -> None:
    write(study / "ard/seed1/evaluation.json", first(0.9), first(0.2), threat={"norm": "Linf", "eps": 0.3})
    rows = [row for row in group(load_records([study])) if row.label == "ard"]
    assert sorted(len(row.records) for row in rows) == [1, 1]


def test_runs_that_nobody_evaluated_are_counted_and_named(study: Path) -> None:
    assert "Left out" not in compare_records([study], study / "out")
    (study / "ard/seed0/metrics.csv").touch()  # which has a record
    for name in ("metrics.csv", "student.safetensors"):
        (study / "ard/seed7").mkdir(exist_ok=True)
        (study / "ard/seed7" / name).touch()
    (study / "wandb/run-1/files").mkdir(parents=True)
    (study / "wandb/run-1/files/config.yaml").touch()  # no run
    text = compare_records([study, study / "ard"], study / "out")
    assert f"\n\nLeft out, 1 without a record: {study}/ard/seed7; `ard evaluate` writes one.\n\n" in text
    for seed in range(8, 14):
        (study / f"rslad/seed{seed}").mkdir(parents=True)
        (study / f"rslad/seed{seed}/metrics.csv").touch()
    assert "Left out, 7 without a record: " in (text := compare_records([study], study / "out"))
    assert "seed13, …; `ard" in text


@pytest.mark.fault(63)
def test_a_record_of_other_weights_is_left_out_and_named(study: Path, observed) -> None:
    stale = study / "ard/seed0"
    (stale / "student.safetensors").write_bytes(b"of a later run")
    text = compare_records([study / "ard", study], study / "out")
    line = f"Left out, 1 of other weights than those beside it: {stale}/evaluation.json; `ard evaluate` writes one."
    assert f"\n\n{line}\n\n" in text
    assert "\n| ard |" not in text
    assert cells(text, "pgd_at")["seeds"] == "1"
    (study / "rslad/seed7").mkdir(parents=True)
    (study / "rslad/seed7/metrics.csv").touch()
    assert f"Left out, 1 without a record: {study}/rslad/seed7; 1 of" in compare_records([study], study / "out")
    shutil.copytree(stale, study.parent / "alone", ignore=shutil.ignore_patterns("last.*"))
    with pytest.raises(UserError, match=r"alone/evaluation.json is of other weights"):
        compare_records([study.parent / "alone"], study / "out")
    observed(line.replace(str(study), "…"))


def test_runs_that_were_moved_aside_are_not_compared(study: Path) -> None:
    before = compare_records([study], study / "out")
    shutil.copytree(study / "ard", study / "tiny.replaced/ard")
    (study / "tiny.replaced/ard/seed7").mkdir()
    (study / "tiny.replaced/ard/seed7/metrics.csv").touch()
    assert compare_records([study], study / "out") == before
    assert "ard/seed7" in compare_records([study / "tiny.replaced"], study / "out")  # who names them gets them


@pytest.mark.fault(65)
def test_whatever_fails_on_disk_a_table_is_whole_or_as_before(study: Path, monkeypatch, observed) -> None:
    monkeypatch.setattr(
        "ard.report.comparison.Comparison._draw", lambda _, output, __: str(save(Figure(), output / "p.png"))
    )
    compare_records([study], study)
    before = {name: (study / name).read_bytes() for name in ("table.md", "table.csv", "p.png")}
    write(study / "ard/seed0/evaluation.json", first(0.9), first(0.75))
    compare_records([study], after := study / "after")
    refused, disk = 0, Disk(at=1, error=errno.ENOSPC)
    while disk.at == 1 or disk.count >= disk.at - 1:
        with monkeypatch.context() as patch:
            for place, name in [*((os, name) for name in CHANGES), (builtins, "open"), (io, "open")]:
                patch.setattr(place, name, getattr(place, name))  # so that it is restored
            disk.count = 0
            disk.install(str(study))
            try:
                compare_records([study], study)
            except UserError as error:
                refused += "cannot be written (No space left on device)" in str(error)
        for name, content in before.items():
            assert (study / name).read_bytes() in (content, (after / name).read_bytes())
        assert list(study.glob(".*")) == []
        disk.at += 1
    assert refused >= 3 * 4  # of each file: opened, written, made safe, renamed
    observed(f"{refused} of {disk.at - 2} changes on disk refused in one line; files whole or as before")


def test_one_run_alone_is_not_drawn(study: Path) -> None:
    text = compare_records([study / "ard"], study / "alone")
    assert text.endswith("\n\nNo picture: there is one run alone.\n")
    assert sorted(file.name for file in (study / "alone").iterdir()) == ["table.csv", "table.md"]


def test_damaged_records_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"found no evaluation.json"):
        compare_records([tmp_path], tmp_path)
    path = tmp_path / "ard/seed0/evaluation.json"
    for content in ("{", "[]", "{}", '{"suite": 1}'):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        with pytest.raises(UserError, match=r"ard/seed0/evaluation.json (has no|is damaged)") as caught:
            compare_records([tmp_path], tmp_path)
        assert "\n" not in str(caught.value)
    write(path, first(0.9), first(0.8))
    content = json.loads(path.read_text())
    content["bits"]["worst"] = pack(first(0.8)[:99])
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="expected 63 for 500 images"):
        compare_records([tmp_path], tmp_path)


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


def test_reads_files_only() -> None:
    code = "import sys, ard.report.comparison; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def strip(path: Path, **changes: Any) -> None:
    """A record as versions before wrote it, or another run than it was."""
    record = read_record(path)
    write_record(path, replace(record, **{"run": None, **changes}))


def test_records_that_name_no_run_are_named_by_their_folders(study: Path) -> None:
    """Seeds are still one row, and who taught another one listed is a teacher."""
    write(study / "ard/seed1/evaluation.json", first(0.95), first(0.8), teacher="f" * 64)
    for path in study.rglob("*evaluation.json"):
        strip(path)
    text = compare_records([study], study / "out")
    assert cells(text, "ard")["Teacher"] == "robust"
    assert cells(text, "ard (last)")["seeds"] == "1"
    assert "90.0" in cells(text, "teachers/robust")["Worst"]
    named = next(line for line in text.splitlines() if line.startswith("Named by their folders"))
    assert named.endswith(": teachers/robust, ard, pgd_at.")
    assert "Named by their folders" not in compare_records([write_study(study.parent / "new")], study / "out")


def test_the_same_run_in_two_folders_is_one_and_another_of_its_name_a_row_of_its_own(study: Path) -> None:
    copy = study.parent / "copy"
    shutil.copytree(study, copy)
    assert rows_of(compare_records([study, copy], study / "out")) == rows_of(compare_records([study], study / "out"))
    path = copy / "pgd_at/seed0/evaluation.json"
    run = read_record(path).run
    write(path, first(0.95), first(0.5))
    strip(path, run=run)
    text = compare_records([study, copy], study / "out")
    assert [cells(text, f"{folder}/pgd_at")["Worst"] for folder in ("digits", "copy")] == ["70.0", "50.0"]


def test_records_of_which_nothing_is_known_are_rows_of_their_own(tmp_path: Path) -> None:
    """Without a seed two of them cannot be seeds of one run."""
    for seed in (0, 1):
        write(tmp_path / f"foreign/seed{seed}/evaluation.json", first(0.9), first(0.5 + 0.1 * seed), training=None)
    text = compare_records([tmp_path], tmp_path)
    assert [cells(text, f"seed{seed}/foreign")["seeds"] for seed in (0, 1)] == ["1", "1"]


def test_lone_runs_of_one_recipe_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for folder, worst in (("a", 0.5), ("b", 0.6)):
        path = tmp_path / folder / "seed0" / "evaluation.json"
        record = write(path, first(0.9), first(worst))
        assert record.run is not None
        strip(path, run=replace(record.run, study=None, method="rslad"))
    text = compare_records([tmp_path], tmp_path)
    assert [cells(text, f"{folder}/rslad")["Worst"].split()[0].strip("*") for folder in "ab"] == ["50.0", "60.0"]


@pytest.mark.parametrize(
    "changes", [{"model": {"class_path": "ard.models.MobileNetV2", "init_args": {"width": 2}}}, {"recipe": 30}]
)
def test_runs_of_no_study_that_trained_something_else_are_no_seeds_of_one_row(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    """Two folders that somebody called alike."""
    recipe = {"engine": "ard.Distillation", "class_path": "ard.objectives.ard.ARD", "init_args": {"temperature": 1.0}}
    other = {"recipe": {**recipe, "init_args": {"temperature": 30.0}}} if "recipe" in changes else changes
    for seed, worst in enumerate((0.5, 0.6)):
        path = tmp_path / f"ard/seed{seed}/evaluation.json"
        record = write(path, first(0.9), first(worst), **{"recipe": recipe} | (other if seed else {}))
        assert record.run is not None
        strip(path, run=replace(record.run, study=None))
    assert [row.repeats for row in group(load_records([tmp_path]))] == ["1", "1"]


def test_every_teacher_of_a_run_is_a_teacher_and_named(study: Path) -> None:
    """Also where no study says who teaches: the second one of MTARD would be the baseline."""
    natural = {"path": "student.safetensors", "sha256": "e" * 64}
    write(study / "natural/seed0/evaluation.json", first(0.99), first(0.1), weights=natural)
    write(study / "mtard/seed0/evaluation.json", first(0.97), first(0.6), teacher="f" * 64)
    for path in study.rglob("*evaluation.json"):
        run = read_record(path).run
        assert run is not None
        teachers = {"teacher": "f" * 64, "objective.natural_teacher": "e" * 64} if run.method == "mtard" else {}
        strip(path, run=replace(run, study=None, role="student", teachers=teachers))
    text = compare_records([study], study / "out")
    assert cells(text, "mtard")["Teacher"] == "robust, natural"
    assert "teachers/natural" in text
    assert "Method − natural" not in text


def rows_of(text: str) -> list[str]:
    """The rows of the first table."""
    return [line for line in text.partition("\n\n")[0].splitlines() if line.startswith("| ")]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are Unicode")
def test_runs_in_a_folder_whose_name_is_no_utf_8_are_compared_and_have_pages(tmp_path: Path) -> None:
    study = write_study(tmp_path / os.fsdecode(b"caf\xe9"))
    table = compare_records([study], tmp_path / "out")
    assert "| ard | " in table
    assert (tmp_path / "out/table.md").read_text().startswith(table[:20])
    assert write_pages(study)
    compare_records([study], study)
    assert "caf\\udce9" in (study / "table.md").read_text()
