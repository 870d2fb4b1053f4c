"""metrics.csv: what a step costs does not grow with the run, and a line that was torn by a kill is not read."""

import os

import pytest

from ard.artifacts.metrics import Validation, read_metrics, read_validations
from ard.training.metrics_csv import MetricsCSV


def begun(folder, step=0):
    metrics = MetricsCSV(folder)
    metrics.resume_before(step)
    return metrics


def log(metrics, *steps):
    for step in steps:
        metrics.log_metrics({"epoch": step // 10, "loss": step / 7}, step)
        metrics.save()  # as Lightning does


@pytest.fixture
def replaced(monkeypatch):
    """The files that were written as a whole."""
    files = []
    monkeypatch.setattr(os, "replace", lambda *paths, replace=os.replace: files.append(paths[1]) or replace(*paths))
    return files


def test_a_step_appends_and_only_a_new_column_writes_the_file_again(tmp_path, replaced):
    metrics = begun(tmp_path)
    log(metrics, *range(20))
    assert len(replaced) == 1
    metrics.log_metrics({"val/loss": 1.5}, 19)  # a validation logs to the step before it
    log(metrics, *range(20, 30))
    metrics.log_metrics({"val/loss": 2.5}, 29)
    metrics.log_metrics({"loss": 9.0}, 3)
    metrics.finalize("success")
    assert len(replaced) == 3
    rows = read_metrics(metrics.path)
    assert [int(row["step"]) for row in rows] == list(range(30))
    assert [rows[step].get("val/loss") for step in (18, 19, 29)] == [None, "1.5", "2.5"]
    assert [float(rows[step]["loss"]) for step in (3, 4)] == [9.0, 4 / 7]


@pytest.mark.parametrize("left", range(1, 26))
def test_a_torn_last_line_is_not_read_and_is_written_anew(tmp_path, left):
    log(begun(tmp_path), *range(5))
    path = tmp_path / "metrics.csv"
    whole = path.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    path.write_bytes(whole[: -len(last)] + last[: min(left, len(last) - 1)])
    assert [int(row["step"]) for row in read_metrics(path)] == [0, 1, 2, 3]
    log(begun(tmp_path, step=4), 4)
    assert path.read_bytes() == whole


def test_a_resume_drops_later_rows(tmp_path):
    log(begun(tmp_path), *range(9))
    log(begun(tmp_path, step=4), 4)
    assert [int(row["step"]) for row in read_metrics(tmp_path / "metrics.csv")] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("harm", [lambda path: path.unlink(), lambda path: path.write_text("step\n1\n")])
def test_what_others_did_to_the_file_is_mended_with_the_next_row(tmp_path, harm):
    metrics = begun(tmp_path)
    log(metrics, 0, 1)
    harm(metrics.path)
    log(metrics, 2)
    assert [int(row["step"]) for row in read_metrics(metrics.path)] == [0, 1, 2]


@pytest.mark.parametrize(("epoch", "found"), [("3", 1), ("3.0", 0), ("three", 0)])
def test_validations_that_cannot_be_read_are_none(tmp_path, epoch, found):
    path = tmp_path / "metrics.csv"
    path.write_text(f"step,epoch,val/clean_acc,val/robust_acc\n9,{epoch},0.9,0.5\n")
    assert read_validations(path) == [Validation(epoch=3, clean_acc=0.9, robust_acc=0.5)] * found
