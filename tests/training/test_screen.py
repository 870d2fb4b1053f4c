"""The screen of a run: a panel, a line of every epoch as it ends, best so far and time left, also after a resume."""

import re
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
from hypothesis import given
from hypothesis import strategies as st
from small_runs import cli
from test_resume import KilledError, Order
from torch import nn

from ard.artifacts.metrics import read_metrics, read_validations
from ard.training.callbacks.epoch_line import LEGEND, EpochLine, header
from ard.training.callbacks.pace import Pace
from ard.training.callbacks.panel import _apart
from ard.training.callbacks.screen import Screen
from ard.training.trainer import TRAINER_DEFAULTS

EPOCHS = ["--trainer.max_epochs=3", "--trainer.limit_val_batches=1.0"]


def epoch_lines(out):
    return [line.split() for line in out.splitlines() if re.match(r" +\d+ +\d", line)]


@pytest.mark.usefixtures("above_chance")
def test_the_lines_hold_the_means_of_metrics_csv(command, tmp_path, capsys):
    status, out, _ = cli(capsys, *command(tmp_path, "trades", *EPOCHS, "--model.init_args.threat.init_args.eps=8/255"))
    assert status == 0
    assert [line for line in out.splitlines() if len(line) > 80 and str(tmp_path) not in line] == []
    for row in ("method      trades (TRADES)", "threat      Linf, eps 8/255", f"folder      {tmp_path}", header()):
        assert row in out.splitlines()
    rows, validations, lines = (
        read_metrics(tmp_path / "metrics.csv"),
        read_validations(tmp_path / "metrics.csv"),
        epoch_lines(out),
    )
    assert [line[0] for line in lines] == ["0", "1", "2"]
    for epoch, (line, validation) in enumerate(zip(lines, validations, strict=True)):
        steps = [row for row in rows if row["epoch"] == str(epoch)]
        loss, accuracy = (sum(float(row[f"train/{name}"]) for row in steps) / 2 for name in ("loss", "robust_acc"))
        assert float(line[1]) == pytest.approx(float(steps[-1]["lr"]), rel=1e-2)
        assert float(line[2]) == pytest.approx(loss, rel=1e-3)
        assert [float(cell) for cell in line[3:6]] == pytest.approx(
            [100 * accuracy, 100 * validation.clean_acc, 100 * validation.robust_acc], abs=0.051
        )
        best = max(validations[: epoch + 1], key=lambda one: one.robust_acc)
        assert line[6:8] == [f"{100 * best.robust_acc:.1f}", f"({best.epoch})"]


@pytest.mark.usefixtures("above_chance")
def test_a_line_is_there_when_its_epoch_has_ended_and_the_best_survives_a_resume(fit, tmp_path, capsys):
    with pytest.raises(KilledError):
        fit(tmp_path, "natural", *EPOCHS, callbacks=[Order((1, 1))])
    (first,) = epoch_lines(capsys.readouterr().out)
    (screen,) = [c for c in fit(tmp_path, "natural", *EPOCHS, "--resume=auto").trainer.callbacks if isinstance(c, Screen)]
    out = capsys.readouterr().out
    assert "going on in epoch 1" in out
    assert [first[0], *(line[0] for line in epoch_lines(out))] == ["0", "1", "2"]
    best = max(read_validations(tmp_path / "metrics.csv"), key=lambda one: one.clean_acc)
    assert screen.best == (pytest.approx(best.clean_acc), best.epoch)


def test_epochs_without_validation_have_a_line_too(fit, tmp_path, capsys):
    fit(tmp_path, "natural", *EPOCHS, "--trainer.check_val_every_n_epoch=2")
    lines = epoch_lines(capsys.readouterr().out)
    assert [[line[0], line[3], "–" in line[4:5]] for line in lines] == [
        ["0", "–", True],
        ["1", "–", False],
        ["2", "–", True],
    ]


def test_it_is_a_callback_of_any_trainer(fit, tmp_path, capsys):
    built = fit(tmp_path / "ours", "natural")
    engine, data = built.model, built.datamodule
    capsys.readouterr()
    options = {**TRAINER_DEFAULTS, "accelerator": "cpu", "max_epochs": 1, "limit_train_batches": 2, "logger": False}
    trainer = pl.Trainer(callbacks=[Screen()], enable_checkpointing=False, default_root_dir=tmp_path, **options)
    trainer.fit(engine, datamodule=data)
    out = capsys.readouterr().out
    assert "method      Natural" in out
    assert [line[0] for line in epoch_lines(out)] == ["0"]


@pytest.mark.parametrize(
    ("processes", "norm", "said"),
    [(1, nn.BatchNorm2d, False), (8, nn.BatchNorm2d, True), (8, nn.SyncBatchNorm, False), (8, nn.GroupNorm, False)],
)
def test_the_panel_says_of_how_many_images_batch_norm_is_where_each_process_has_its_own(processes, norm, said):
    student = nn.Sequential(norm(2, 2) if norm is nn.GroupNorm else norm(2))
    engine = SimpleNamespace(student=student, data=SimpleNamespace(batch_size=128))
    words = _apart(SimpleNamespace(world_size=processes), engine)
    assert ("BatchNorm of 16 images in each process" in words, bool(words)) == (said, said)


def test_other_processes_say_nothing(capsys):
    screen = Screen()
    screen.disable()
    screen.print("nothing")
    assert capsys.readouterr().out == ""


fractions, times = st.none() | st.floats(0, 1), st.none() | st.floats(0, 3.5e6)


@given(
    st.builds(
        EpochLine,
        epoch=st.integers(0, 999),
        lr=st.none() | st.floats(1e-12, 10),
        loss=st.none() | st.floats(0, 9999) | st.just(1e30),
        train_robust_acc=fractions,
        clean_acc=fractions,
        robust_acc=fractions,
        best=st.none() | st.tuples(st.floats(0, 1), st.integers(0, 999)),
        images_per_s=times,
        left=times,
    )
)
def test_no_line_is_longer_than_a_terminal(line):
    assert len(str(line)) == len(header()) == 79
    assert len(str(line).split()) >= 9
    assert len(LEGEND) <= 80


def test_the_first_steps_say_nothing_of_the_time_that_is_left():
    now = [0.0]
    pace = Pace(clock=lambda: now[0])
    for seconds in (120, 60, 2, 2):
        pace.begin_step()
        now[0] += seconds
        pace.end_step(100)
        assert pace.left(10, 0) == (None if seconds > 2 else 20)


def test_the_time_left_is_that_of_steps_and_validations():
    now = [0.0]
    pace = Pace(clock=lambda: now[0])
    assert (pace.left(10, 1), pace.speed, pace.end_epoch()) == (None, None, None)
    for _ in range(4):
        pace.begin_step()
        now[0] += 2
        pace.end_step(100)
    assert (pace.speed, pace.left(4, 0)) == (50, 8)
    now[0] += 7  # validation
    assert pace.end_epoch() == 50
    assert pace.left(4, 1) == 8 + 7
    now[0] += 1  # a checkpoint
    pace.begin_step()
    assert pace.left(4, 1) == 8 + 8
