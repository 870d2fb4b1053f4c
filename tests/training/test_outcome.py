"""The first row of a run: which configs it took. The last lines: how good it was, its weights, what to do next."""

import json

from small_runs import cli

from ard.artifacts.metrics import read_validations
from ard.artifacts.weights import read_weights

FIRST = "configs     configs/digits.yaml, configs/methods/natural.yaml\n"


def answer(out):
    """The last three lines, the first without the time."""
    first, *others = out.splitlines()[-3:]
    return [first.rpartition("; ")[0], *others]


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
    assert summary["best"] == {"epoch": best.epoch, "clean_acc": best.clean_acc, "robust_acc": best.robust_acc}
    assert (summary["run"]["method"], summary["run"]["seed"], summary["stopped"]) == ("natural", 0, None)
    assert cli(capsys, *words)[:2] == (2, "")  # refused: it would overwrite them
    status, out, _ = cli(capsys, *words, "--resume=auto")
    assert (status, answer(out), len(out.splitlines())) == (0, lines, 3)
    assert json.loads((directory / "summary.json").read_text()) | {"seconds": summary["seconds"]} == summary


def test_a_run_without_validation_names_the_last_weights(command, tmp_path, capsys):
    _, out, _ = cli(capsys, *command(tmp_path, "natural", "--trainer.limit_val_batches=0"))
    weights = tmp_path / "last.safetensors"
    assert answer(out) == ["last epoch 0", f"last: {weights}", f"next: ard evaluate {weights}"]
