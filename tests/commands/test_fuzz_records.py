"""Records, evidence and metrics changed at random: what they say is used, or they are refused in one line."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from fuzzing import answered, damaged, mutated, read_or_refused, tried
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save
from small_records import first, write, write_study
from small_runs import cli, write_weights

from ard.artifacts.metrics import read_metrics
from ard.artifacts.shown import read_shown
from ard.commands.evaluate_file import _teacher_acc
from ard.evaluation.request import Request
from ard.study.job import finished_record
from ard.training.metrics_csv import MetricsCSV

pytestmark = pytest.mark.usefixtures("short_attacks")

draws = st.randoms(use_true_random=False)
METRICS = b"step,epoch,train/loss,val/clean_acc\n0,0,1.5,\n1,0,1.25,0.5\n2,1,1.0,\n3,1,0.75,0.75\n"


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """Weights with their record and their adversarial images."""
    from ard.__main__ import main

    weights = write_weights(tmp_path_factory.mktemp("evaluated") / "student.safetensors")
    assert main(["evaluate", str(weights), "--limit", "20", "--save-adversarial"]) == 0
    return weights.parent


def odd(content, draw, other=b""):
    """A JSON file changed as a tree or as bytes; its changed tree where it still is one."""
    if draw.randint(0, 3):
        return json.dumps(mutated(json.loads(content), draw)).encode()
    return damaged(content, draw, other)


@tried(40)
@given(draw=draws)
def test_compare(tmp_path, draw):
    root = write_study(tmp_path / "study")
    path = draw.choice(sorted(root.rglob("*.json")))
    path.write_bytes(odd(path.read_bytes(), draw, path.read_bytes()))
    status, said, _ = answered(tmp_path, "compare", root, "--out", tmp_path / "out")
    assert status in (0, 2)
    assert "nan" not in "".join(line for line in said.splitlines() if not line.startswith("| Method"))  # a name may be
    for folder in (root, tmp_path / "out"):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(
    "change", [{"clean_acc": 0.9}, {"robust_acc": 0.9}, {"robust_acc": -0.1}, {"clean_acc": True}], ids=str
)
def test_an_accuracy_that_is_not_its_verdicts(change, tmp_path, capsys):
    path = tmp_path / "ard/seed0/evaluation.json"
    write(path, first(0.95), first(0.8))
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    status, out, err = cli(capsys, "compare", tmp_path)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert f"is damaged ({next(iter(change))}" in err


@tried(25)
@given(draw=draws)
def test_verify(evaluated, tmp_path, draw):
    stored = evaluated / "evaluation.adversarial.safetensors"
    with safe_open(stored, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in ("x_adv", "y", "robust")}
        told = file.metadata()["record"]
    path = tmp_path / "odd.safetensors"
    if draw.randint(0, 1):
        path.write_bytes(damaged(stored.read_bytes(), draw, stored.read_bytes()))
    else:
        path.write_bytes(save(tensors, {"record": odd(told.encode(), draw).decode(errors="replace")}))
    status, said, _ = answered(tmp_path, "verify", path, evaluated / "student.safetensors")
    assert status in (0, 2, 4)
    assert ("holds" in said) == (status == 0)


@tried(200)
@given(draw=draws)
def test_what_is_shown(evaluated, tmp_path, draw):
    stored = evaluated / "evaluation.shown.safetensors"
    path, content = tmp_path / "odd.shown.safetensors", stored.read_bytes()
    path.write_bytes(damaged(content, draw, content))
    found = read_or_refused(read_shown, path)
    assert found is None or all(
        np.array_equal(part, getattr(read_shown(stored), name)) for name, part in vars(found).items()
    )


@tried(100)
@given(draw=draws)
def test_a_record_beside_a_teacher_or_in_a_study(evaluated, tmp_path, draw):
    path, content = tmp_path / "evaluation.json", (evaluated / "evaluation.json").read_bytes()
    record = json.loads(content)
    path.write_bytes(odd(content, draw, content))
    same = SimpleNamespace(digest=record["dataset"]["digest"], ball=SimpleNamespace(eps=record["threat"]["eps"]))
    accuracy = _teacher_acc(
        same, Request(teacher=str(tmp_path / "student.safetensors"), limit=20), record["weights"]["sha256"]
    )
    assert accuracy is None or accuracy == record["robust_acc"]
    found = finished_record(path)
    assert found is None or Request(limit=20).answered_by(found) in (True, False)


@tried(200)
@given(draw=draws)
def test_metrics(tmp_path, draw):
    path = tmp_path / "metrics.csv"
    path.write_bytes(damaged(METRICS, draw, b'\x00"\n,,"\r' + METRICS))
    before = path.read_bytes()
    rows = read_or_refused(read_metrics, path)
    metrics = MetricsCSV(tmp_path)
    read_or_refused(metrics.resume_before, 2)
    assert path.read_bytes() == before
    if rows is not None:
        metrics.log_metrics({"train/loss": 0.5}, step=2)
        assert [row for row in read_metrics(path) if row["step"] == "2"][-1]["train/loss"] == "0.5"
