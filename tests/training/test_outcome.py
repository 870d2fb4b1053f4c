"""The first row of a run: which configs it took. The last lines: how good it was, its weights, what to do next."""

import json
from dataclasses import asdict

import pytest
from small_runs import cli

from ard.__main__ import main
from ard.artifacts.metrics import read_validations
from ard.artifacts.weights import read_weights

FIRST = "configs     configs/digits.yaml, configs/methods/natural.yaml\n"


def answer(out):
    """The last three lines, the first without the time."""
    first, *others = out.splitlines()[-3:]
    return [first.rpartition("; ")[0], *others]


@pytest.mark.usefixtures("above_chance")
def test_a_run_says_what_it_left_and_so_does_one_that_was_finished(command, tmp_path, capsys):
    directory = tmp_path / "my runs" / "run"
    words = command(directory, "natural", "--trainer.max_epochs=2")
    status, out, _ = cli(capsys, *words)
    validations, weights = read_validations(directory / "metrics.csv"), directory / "student.safetensors"
    best = validations[read_weights(weights)[1].training.epoch]
    assert best.clean_acc == max(one.clean_acc for one in validations)
    accuracies = f"{100 * best.clean_acc:.1f} % clean, {100 * best.robust_acc:.1f} % robust on validation images"
    lines = [f"best epoch {best.epoch}: {accuracies}", f"student: {weights}", f"next: ard evaluate '{directory}'"]
    assert out.startswith(FIRST)
    assert (status, answer(out)) == (0, lines)
    summary = json.loads((directory / "summary.json").read_text())
    assert summary["best"] == asdict(best)
    assert (summary["run"]["method"], summary["run"]["seed"], summary["stopped"]) == ("natural", 0, None)
    assert cli(capsys, *words)[:2] == (2, "")  # refused: it would overwrite them
    status, out, _ = cli(capsys, *words, "--resume=auto")
    assert (status, answer(out), len(out.splitlines())) == (0, lines, 3)
    assert json.loads((directory / "summary.json").read_text()) | {"seconds": summary["seconds"]} == summary


def test_a_run_without_validation_names_the_last_weights(command, tmp_path, capsys):
    _, out, _ = cli(capsys, *command(tmp_path, "natural", "--trainer.limit_val_batches=0"))
    weights = tmp_path / "last.safetensors"
    assert answer(out) == ["last epoch 0", f"last: {weights}", f"next: ard evaluate {weights}"]


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("fast_dev_run=true", "a rehearsal of 1 training steps (fast_dev_run): no weights, nothing written\n"),
        ("max_epochs=0", "nothing was trained (max_epochs 0): no weights, nothing written\n"),
        ("limit_train_batches=0", "nothing was trained (limit_train_batches 0): no weights, nothing written\n"),
        ("max_time=00:00:00:00", "nothing was trained (max_time is over): no weights, nothing written\n"),
    ],
)
def test_a_run_that_trains_nothing_says_so(command, tmp_path, capsys, one_parser, option, told):  # noqa: ARG001
    """Promised is nothing: whoever looks for weights afterwards was told why there are none."""
    status, out, _ = cli(capsys, *command(tmp_path / "run", "natural", f"--trainer.{option}"))
    assert (status, out.endswith(told)) == (0, True)
    assert not list(tmp_path.rglob("*.*"))


def test_a_validation_in_rehearsal_reads_the_checkpoint(command, tmp_path, capsys, one_parser):  # noqa: ARG001
    """Lightning then leaves out every callback that writes."""
    assert cli(capsys, *command(tmp_path, "natural"))[0] == 0
    words = command(tmp_path, "natural", "--ckpt_path=best", "--trainer.fast_dev_run=true", verb="validate")
    status, out, err = cli(capsys, *words)
    assert (status, "val/clean_acc" in out) == (0, True), err


def test_a_profiler_is_heard(command, tmp_path, caplog, one_parser):  # noqa: ARG001
    assert main(command(tmp_path, "natural", "--trainer.profiler=simple")) == 0
    assert "run_training_batch" in caplog.text
