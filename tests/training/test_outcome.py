"""The first line of a run: which configs it took. The last: its weights, the epoch, how good it was, what to do next."""

import csv

from small_runs import cli

from ard.artifacts.weights import read_weights

FIRST = "configs: configs/digits.yaml, configs/methods/natural.yaml\n"


def test_a_run_says_what_it_left_and_so_does_one_that_was_finished(command, tmp_path, capsys):
    directory = tmp_path / "my runs" / "run"
    words = command(directory, "natural", "--trainer.max_epochs=2")
    status, out, _ = cli(capsys, *words)
    with open(directory / "metrics.csv") as file:
        scores = [float(row["val/clean_acc"]) for row in csv.DictReader(file) if row["val/clean_acc"]]
    weights = directory / "student.safetensors"
    epoch = read_weights(weights)[1].training.epoch
    assert scores[epoch] == max(scores)
    line = f"student: {weights} (epoch {epoch}, val/clean_acc {max(scores):.3f}); next: ard evaluate '{weights}'\n"
    assert (status, out) == (0, FIRST + line)
    assert cli(capsys, *words)[:2] == (2, "")  # refused: it would overwrite them
    assert cli(capsys, *words, "--resume=auto")[:2] == (0, line)


def test_a_run_without_validation_names_the_last_weights(command, tmp_path, capsys):
    _, out, _ = cli(capsys, *command(tmp_path, "natural", "--trainer.limit_val_batches=0"))
    weights = tmp_path / "last.safetensors"
    assert out == FIRST + f"last: {weights} (epoch 0); next: ard evaluate {weights}\n"
