"""`ard diagnose`: what it writes and shows, and what it refuses in one line, with nothing written."""

import json
import math

import pytest
from small_runs import NETWORK, cli, narrow, write_weights
from tiny import user_error
from torch import nn

from ard.artifacts.diagnosis import diagnosis_of, read_diagnosis
from ard.artifacts.paths import record_of
from ard.commands.subject import Subject
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
