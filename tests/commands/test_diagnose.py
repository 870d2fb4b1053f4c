"""`ard diagnose`: what it writes and shows, and what it refuses in one line, with nothing written."""

import json
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from small_runs import CARD, NETWORK, cli, narrow, write_weights
from tiny import user_error
from torch import nn

from ard.artifacts.diagnosis import diagnosis_of, read_diagnosis, write_diagnosis
from ard.artifacts.paths import record_of
from ard.attacks import PGD
from ard.commands.subject import Subject
from ard.core.errors import UserError
from ard.diagnostics import inspected
from ard.evaluation.request import Request

FEW = ["--limit", "20"]


@pytest.fixture
def weights(tmp_path):
    return write_weights(tmp_path / "student.safetensors")


def refused(capsys, *words):
    status, out, err = cli(capsys, "diagnose", *words)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("ard: ")
    return err


def test_it_writes_what_it_found_beside_the_weights_and_shows_it_beside_the_accuracies(weights, capsys):
    status, out, _ = cli(capsys, "diagnose", weights, "--only", "sensitivity", *FEW)
    path = weights.with_name("diagnosis.json")
    found = read_diagnosis(path)
    assert (status, path) == (0, diagnosis_of(record_of(weights)))
    assert [result.group for result in found.results] == ["sensitivity"] * 4
    assert (found.n, found.attack, found.teacher) == (20, "PGD-20", None)
    assert found.robust_acc <= found.clean_acc
    lines = out.splitlines()
    assert lines[0] == f"{weights}: {path}"
    assert [line.split(" | ")[0] for line in lines[3:5]] == ["| clean accuracy", "| accuracy after PGD-20"]
    cli(capsys, "diagnose", weights, "--only", "sensitivity", *FEW)
    again = read_diagnosis(path)
    assert [result.values for result in again.results] == [result.values for result in found.results]


def test_images_are_attacked_once_and_in_float32(weights, capsys, monkeypatch):
    halved = []

    class Noted(PGD):
        def begin(self, *given):
            halved.append(torch.is_autocast_enabled("cpu"))
            return super().begin(*given)

    monkeypatch.setattr(inspected, "PGD", Noted)
    with torch.autocast("cpu", torch.bfloat16):
        for only in ("first_order_distance", "output_sensitivity"):  # one that attacks the images, and one that does not
            cli(capsys, "diagnose", weights, "--only", only, *FEW, "--replace")
    assert halved == [False, False]


def test_the_digest_is_that_of_the_images_that_were_looked_at(weights, capsys):
    cli(capsys, "diagnose", weights, "--only", "output_sensitivity", *FEW)
    found = read_diagnosis(weights.with_name("diagnosis.json")).dataset.digest
    assert found == Subject.of(weights, Request(limit=20)).digest != Subject.of(weights, Request()).digest


def test_more_images_than_there_are_is_all_of_them(weights, capsys):
    cli(capsys, "diagnose", weights, "--only", "output_sensitivity", "--limit", 5000)
    found = read_diagnosis(weights.with_name("diagnosis.json"))
    assert (found.n, found.dataset.digest) == (400, Subject.of(weights, Request()).digest)


def test_networks_of_two_architectures_are_not_in_one_table(weights, tmp_path, capsys):
    same = write_weights(tmp_path / "same.safetensors")
    wide = write_weights(tmp_path / "wide.safetensors", narrow(width=6), init_args=NETWORK | {"width": 6})
    _, out, _ = cli(capsys, "diagnose", weights, wide, same, "--only", "output_sensitivity", *FEW)
    tables = out.partition("\n|")[2].split("\n\n")
    assert [table.splitlines()[0].count(".safetensors") for table in tables] == [2, 1]


def test_what_was_changed_after_it_was_written_is_refused(weights, capsys):
    cli(capsys, "diagnose", weights, "--only", "output_sensitivity", *FEW)
    path = weights.with_name("diagnosis.json")
    tree = json.loads(path.read_text())
    tree["results"][0]["values"]["output sensitivity"] = 0.0
    path.write_text(json.dumps(tree))
    with user_error("changed after it was written"):
        read_diagnosis(path)


ONE, TWO, PICTURED = "output_sensitivity", "first_order_distance", "universal_perturbation"


def found_beside(weights):
    diagnosis = read_diagnosis(weights.with_name("diagnosis.json"))
    return diagnosis.n, [result.name for result in diagnosis.results]


def test_what_was_measured_alike_is_kept_beside_the_new(weights, capsys):
    pictures = weights.with_name("diagnosis.pictures.safetensors")
    for only, names in ((PICTURED, [PICTURED]), (ONE, [PICTURED, ONE]), (PICTURED, [PICTURED, ONE])):
        status, out, _ = cli(capsys, "diagnose", weights, "--only", only, *FEW)
        assert (status, found_beside(weights), f"| {only}: " in out) == (0, (20, names), True)
        assert {name.partition("/")[0] for name in load_file(pictures)} == {PICTURED}
    kept = read_diagnosis(weights.with_name("diagnosis.json")).results[1].values
    cli(capsys, "diagnose", weights, "--only", ONE, *FEW)
    assert read_diagnosis(weights.with_name("diagnosis.json")).results[1].values == kept
    assert cli(capsys, "diagnose", weights, "--only", TWO, *FEW, "--replace")[0] == 0
    assert (found_beside(weights), pictures.exists()) == ((20, [TWO]), False)


@pytest.mark.parametrize("other", [{"device": "another"}, {"versions": {"torch": "1.0"}}], ids=str)
def test_what_was_measured_elsewhere_is_not_put_under_these_versions(other, weights, capsys):
    assert cli(capsys, "diagnose", weights, "--only", ONE, *FEW)[0] == 0
    path = weights.with_name("diagnosis.json")
    write_diagnosis(path, replace(read_diagnosis(path), **other))
    assert "would be lost" in refused(capsys, weights, "--only", TWO, *FEW)
    assert cli(capsys, "diagnose", weights, "--only", f"{ONE},{TWO}", *FEW)[0] == 0
    assert sorted(found_beside(weights)[1]) == sorted([ONE, TWO])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only", ONE, *FEW], "holds n = 30, Digits test, Linf 0.1 (first_order_distance would be lost); n = 20, Digits"),
        (["--only", f"{ONE},{TWO}", *FEW], "n = 30, Digits test, Linf 0.1; n = 20, Digits test, Linf 0.1 would replace it"),
        (["--only", TWO, "--limit", "30", "--seed", "1"], "(output_sensitivity would be lost)"),
        (["--only", f"{ONE},{TWO}", "--limit", "30", "--eps", "4/255"], "Linf 0.1; n = 30, Digits test, Linf 4/255 would"),
    ],
    ids=str,
)
def test_a_larger_diagnosis_is_not_replaced_unasked(words, said, weights, capsys, monkeypatch):
    cli(capsys, "diagnose", weights, "--only", f"{ONE},{TWO}", "--limit", "30")
    before = found_beside(weights)
    with monkeypatch.context() as patched:
        patched.setattr("ard.commands.diagnose_files.diagnose_images", pytest.fail)
        err = refused(capsys, weights, *words)
    assert (said in err, "add --replace" in err, found_beside(weights)) == (True, True, before)
    assert cli(capsys, "diagnose", weights, *words, "--replace")[0] == 0
    assert found_beside(weights) != before or words[-1] == "4/255"


def test_the_diagnosis_of_weights_that_lie_beside_is_kept_and_of_former_ones_not(weights, capsys):
    cli(capsys, "diagnose", weights, "--only", ONE, *FEW)
    other = weights.with_suffix(".pt")
    torch.save({"state_dict": narrow().state_dict(), "ard": CARD}, other)
    assert f"diagnosis.json is of {weights}, other weights" in refused(capsys, other, "--only", ONE, *FEW)
    weights.unlink()
    assert cli(capsys, "diagnose", other, "--only", TWO, "--limit", "10")[0] == 0
    assert found_beside(weights) == (10, [TWO])


def test_what_cannot_be_written_is_said_before_anything_is_measured(weights, capsys, monkeypatch):
    weights.with_name("diagnosis.json").mkdir()
    monkeypatch.setattr("ard.commands.diagnose_files.diagnose_images", pytest.fail)
    assert "diagnosis.json: cannot be written (Is a directory)" in refused(capsys, weights, "--only", ONE, *FEW)


def test_where_writing_fails_the_table_is_shown(weights, capsys, monkeypatch):
    def full(path, _):
        raise UserError(f"{path}: cannot be written (No space left on device)")

    monkeypatch.setattr("ard.commands.diagnose_files.write_diagnosis", full)
    status, out, err = cli(capsys, "diagnose", weights, "--only", ONE, *FEW)
    assert (status, f"| {ONE}: " in out, "No space left" in err) == (2, True, True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--only", "sensitivty"], "did you mean 'sensitivity'"),
        (["--limit", "1"], "expected at least 2 images"),
        (["--eps", "lots"], "lots"),
        (["--teacher", "nowhere.safetensors"], "no such file"),
        (["--other", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(weights, capsys, options, said):
    assert said in refused(capsys, weights, *options)
    assert not weights.with_name("diagnosis.json").exists()


def test_a_teacher_of_other_classes_is_refused(weights, tmp_path, capsys):
    other = write_weights(tmp_path / "teacher.safetensors", narrow(7), num_classes=7)
    assert "7 classes" in refused(capsys, weights, "--teacher", other)


def test_weights_that_are_not_numbers_are_refused(tmp_path, capsys):
    network = narrow()
    network.apply(lambda part: nn.init.constant_(part.weight, math.nan) if isinstance(part, nn.Linear) else None)
    broken = write_weights(tmp_path / "broken.safetensors", network)
    assert "finite" in refused(capsys, broken, "--only", "sensitivity", *FEW)
    assert not tmp_path.joinpath("broken.diagnosis.json").exists()
