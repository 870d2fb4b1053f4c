"""What is selected: an epoch above chance, by metrics of validation alone; no run opens the test split."""

import io
import json
import re
from contextlib import redirect_stderr, redirect_stdout
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning import Callback
from small_runs import cli
from test_resume import KilledError, Order
from tiny import user_error

from ard.__main__ import main
from ard.artifacts.metrics import read_validations
from ard.artifacts.weights import card_of
from ard.cli.lightning import resolve_config
from ard.core.statistics import chance_level
from ard.data import Digits


class Closed(Digits):
    """Whoever opens the test split is found out."""

    def test_images(self):
        raise AssertionError("the test split was opened")


@pytest.mark.fault(31)
def test_training_never_opens_the_test_split(fit, tmp_path, observed):
    fit(tmp_path, "ard", "--data=test_selection.Closed", "--data.init_args.batch_size=32")
    assert (tmp_path / "student.safetensors").is_file()
    with pytest.raises(AssertionError, match="was opened"):
        Closed().test_images()
    observed("a test split that raises when it is opened: the run finishes")


@pytest.mark.fault(31)
@pytest.mark.parametrize("monitor", ["test/robust_acc", "train/ce"])
def test_other_monitors_are_refused(command, tmp_path, monitor, observed):
    with user_error("val/robust_acc") as caught:
        resolve_config(command(tmp_path, "pgd_at", f"--model.init_args.training.monitor={monitor}"))
    observed(f"refused: {caught.value}")


class Scores(Callback):
    """Each epoch's clean and robust accuracy, as if they had been measured."""

    def __init__(self, monkeypatch, scores):
        self.scores = scores
        monkeypatch.setattr("torchmetrics.classification.MulticlassAccuracy.compute", lambda metric: self.of(metric))

    def on_validation_start(self, trainer, engine):
        self.engine, self.now = engine, self.scores[trainer.current_epoch]

    def of(self, metric):
        return torch.tensor(self.now[metric is not self.engine.accuracies["clean"]])


CONSTANT = (0.1, 0.1)  # on 200 validation images of ten classes the clean accuracy must exceed 14.8 %
QUICK = [f"--model.init_args.{part}.init_args.steps=1" for part in ("attack", "val_attack")]
EPOCHS = ["--trainer.max_epochs=4", "--trainer.limit_val_batches=1.0", *QUICK]
WHOLE = [*EPOCHS, "--trainer.limit_train_batches=1.0", "--data.init_args.batch_size=300"]
ONE_CLASS = [*WHOLE, "--model.init_args.student=test_guards.Constant", "--model.init_args.training.lr=1e-9"]


@pytest.mark.parametrize("kill", [None, (2, 1), (3, 1)], ids=["at once", "resumed before it", "resumed after it"])
def test_a_constant_epoch_is_never_preferred_to_one_above_chance(fit, tmp_path, monkeypatch, capsys, kill):
    """However robust: what always names one class is as right as before under any attack. Nor is it overfitted."""
    scores = Scores(monkeypatch, [(0.1, 0.2), (0.1, 0.3), (0.58, 0.08), (0.1, 0.4)])
    if kill:
        with pytest.raises(KilledError):
            fit(tmp_path, "pgd_at", *EPOCHS, callbacks=[scores, Order(kill)])
    built = fit(tmp_path, "pgd_at", *EPOCHS, *(["--resume=auto"] if kill else []), callbacks=[scores])
    out, err = capsys.readouterr()
    training, summary = card_of(tmp_path / "student.safetensors").training, summary_of(tmp_path)
    assert (training.epoch, training.selected_by) == (2, "val/robust_acc")
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["epoch"] == 2
    assert (summary["best"]["epoch"], summary["selected_by"]) == (2, "val/robust_acc")
    lines = [line.split()[6:8] for line in out.splitlines() if re.match(r" +\d +\d", line)]
    assert [line[0] for line in lines] == ["–", "–", "8.0", "8.0"]
    assert lines[-1] == ["8.0", "(2)"]
    assert "robust overfitting" not in err
    assert [warning.partition(";")[0] for warning in summary["warnings"]] == ["the last epoch is not above chance"]
    assert built.status == 0


def summary_of(folder):
    return json.loads((folder / "summary.json").read_text())


@pytest.fixture(scope="module")
def constant(command, one_parser, tmp_path_factory):  # noqa: ARG001
    """A run whose network answers each image with class 3, and what it said."""
    folder = tmp_path_factory.mktemp("constant")
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        status = main(command(folder, "pgd_at", *ONE_CLASS, student=[]))
    return SimpleNamespace(folder=folder, status=status, out=out.getvalue(), err=err.getvalue())


@pytest.mark.fault(38)
def test_a_run_without_an_epoch_above_chance_has_failed_and_says_why(constant, observed):
    weights = [constant.folder / f"{name}.safetensors" for name in ("student", "last")]
    assert [card_of(file).training.selected_by for file in weights] == ["none", "last epoch"]
    assert [card_of(file).training.epoch for file in weights] == [3, 3]
    summary, last_line = summary_of(constant.folder), constant.err.splitlines()[-1]
    assert (summary["selected_by"], summary["best"], summary["last"]["epoch"]) == ("none", None, 3)
    (warning,) = summary["warnings"]
    assert last_line.startswith(f"ard: {warning}; the weights are those of the last")
    assert re.match(r"no epoch is above chance: .* \d+\.\d % in epoch 0, is not above 1\d\.\d %", warning)
    assert "next:" not in constant.out
    assert constant.status == 3
    observed(f"exit 3: {last_line}")


def test_resumed_after_its_end_it_says_the_same(constant, command, capsys):
    status, _, err = cli(capsys, *command(constant.folder, "pgd_at", *ONE_CLASS, "--resume=auto", student=[]))
    assert (status, err.splitlines()[-1]) == (3, constant.err.splitlines()[-1])


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--trainer.limit_train_batches=2", "limit_train_batches 2"),
        ("--trainer.limit_train_batches=1", "limit_train_batches 1"),
        ("--trainer.max_epochs=2", "max_epochs 2"),
        ("--trainer.max_time=00:00:00:01 --trainer.max_epochs=400", "max_time"),
    ],
)
def test_one_that_was_cut_short_on_purpose_says_so_and_has_not(command, tmp_path, capsys, option, said):
    status, out, _ = cli(capsys, *command(tmp_path, "pgd_at", *ONE_CLASS, *option.split(), student=[]))
    *_, line, student, following = out.splitlines()
    assert status == 0
    assert line.startswith(f"cut short by {said}: no epoch is above chance")
    assert student.startswith("student: ")
    assert following.startswith("next: ard evaluate")
    assert card_of(tmp_path / "student.safetensors").training.selected_by == "none"
    assert summary_of(tmp_path)["warnings"] == []


def test_a_student_of_such_a_teacher_is_warned_with_the_cause(constant, fit, tmp_path):
    values = {"weights": constant.folder, "network": "test_guards.Constant"}
    teacher = [f"--model.init_args.teacher.init_args.{key}={value}" for key, value in values.items()]
    with pytest.warns(UserWarning, match="no epoch of its training was above chance .*selected_by none"):
        fit(tmp_path, "rslad", *teacher)


def test_a_constant_network_does_not_raise_what_catastrophic_overfitting_is_measured_by(constant):
    state = torch.load(constant.folder / "last.ckpt", weights_only=True)["callbacks"]
    assert state["CatastrophicOverfitting"]["pgd"] > 0
    assert state["CatastrophicOverfitting"]["pgd_best"] == 0
    assert state["RobustOverfitting"]["best"] is None


def test_metrics_csv_has_what_the_clean_accuracy_must_exceed(constant):
    labels = Digits(val_size=200).splits[1].labels
    (chance,) = {one.chance for one in read_validations(constant.folder / "metrics.csv")}
    assert chance == pytest.approx(chance_level(labels.bincount().tolist()))


class Norms(Callback):
    """How often BatchNorm is computed during validation."""

    def __init__(self, monkeypatch):
        self.count, self.counting, plain = 0, False, torch.nn.functional.batch_norm

        def counted(*arguments, **options):
            self.count += self.counting
            return plain(*arguments, **options)

        monkeypatch.setattr(torch.nn.functional, "batch_norm", counted)

    def on_validation_start(self, *_):
        self.counting = True

    def on_validation_end(self, *_):
        self.counting = False


@pytest.mark.parametrize("more", [[], ["--model.init_args.training.average=0.9"]])  # then the guard attacks the student, too
def test_validation_attacks_a_network_whose_norms_are_folded(fit, tmp_path, monkeypatch, more):
    counts = []
    for steps in (2, 12):
        norms = Norms(monkeypatch)
        fit(
            tmp_path / str(steps),
            "pgd_at",
            f"--model.init_args.val_attack.init_args.steps={steps}",
            *more,
            callbacks=[norms],
        )
        counts.append(norms.count)
    assert counts[0] == counts[1] > 0
