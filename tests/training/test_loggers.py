"""metrics.csv is always there and complete; other loggers beside it see the same numbers and change none."""

import importlib.util
import sys

import pytest
import yaml

from ard.artifacts.metrics import read_metrics

TIMES = ("train/images_per_s", "train/attack_share")
TENSORBOARD = {"class_path": "pytorch_lightning.loggers.TensorBoardLogger"}
WANDB = {"class_path": "pytorch_lightning.loggers.WandbLogger"}
EPOCHS = ["--trainer.max_epochs=2"]


def needs(library):
    return pytest.mark.skipif(importlib.util.find_spec(library) is None, reason=f"{library} is not installed")


@pytest.fixture(autouse=True)
def quiet_wandb(monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_CONSOLE", "off")


@pytest.fixture(scope="module")
def plain(fit, tmp_path_factory):
    """The rows of a run without any logger but ours."""
    directory = tmp_path_factory.mktemp("plain")
    fit(directory, "ard", *EPOCHS)
    return read_metrics(directory / "metrics.csv")


def timeless(rows):
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


@pytest.mark.parametrize("recipe", ["ard", "fast_ard", "rslad", "pgd_at", "natural"])
def test_metrics_csv_holds_what_the_design_lists(fit, tmp_path, recipe):
    replays = ["--model.init_args.replays=2", "--trainer.max_epochs=2"] if recipe == "fast_ard" else []
    engine = fit(tmp_path, recipe, *replays).model
    rows = read_metrics(tmp_path / "metrics.csv")
    columns = {key for row in rows for key in row}
    terms = {"ard": {"kl"}, "fast_ard": {"kl"}, "rslad": {"kl_adv", "kl_clean"}}.get(recipe, {"ce"})
    expected = {"step", "epoch", *TIMES, "val/clean_acc", "val/robust_acc", "val/loss", *(f"train/{t}" for t in terms)}
    teacher = {"val/teacher_on_student_adv_acc"} if engine.teacher is not None else set()
    assert columns == expected | teacher
    for key in {"val/clean_acc", "val/robust_acc", "train/attack_share"} | teacher:
        values = [float(row[key]) for row in rows if key in row]
        assert values
        assert all(0 <= value <= 1 for value in values)
    assert all(float(row["train/images_per_s"]) > 0 for row in rows if "train/images_per_s" in row)
    assert [row["step"] for row in rows] == ["0", "1"]


def test_an_attack_takes_its_share_of_the_time(fit, tmp_path):
    shares = {}
    for recipe in ("natural", "pgd_at"):
        fit(tmp_path / recipe, recipe)
        shares[recipe] = [float(row["train/attack_share"]) for row in read_metrics(tmp_path / recipe / "metrics.csv")]
    assert max(shares["natural"]) < min(shares["pgd_at"])


def test_throughput_is_logged_in_a_run_with_the_default_interval(fit, tmp_path):
    """Steps that are timed and steps that are logged need not coincide."""
    fit(tmp_path, "natural", "--trainer.limit_train_batches=25", "--trainer.log_every_n_steps=10")
    rows = [row for row in read_metrics(tmp_path / "metrics.csv") if "train/ce" in row]
    assert [row["step"] for row in rows] == ["9", "19"]
    assert all(set(TIMES) <= set(row) for row in rows)
    assert rows[0]["train/images_per_s"] != rows[1]["train/images_per_s"]


@needs("tensorboard")
def test_tensorboard_from_the_command_line(fit, tmp_path, plain):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = [f"--trainer.logger={TENSORBOARD['class_path']}", f"--trainer.logger.save_dir={tmp_path}"]
    engine = fit(tmp_path, "ard", *EPOCHS, *logger).model
    rows = read_metrics(tmp_path / "metrics.csv")
    assert timeless(rows) == timeless(plain)
    events = EventAccumulator(engine.trainer.loggers[1].log_dir).Reload()
    for name in {key for row in rows for key in row} - {"step", "epoch"}:
        expected = {int(row["step"]): float(row[name]) for row in rows if name in row}
        assert {event.step: event.value for event in events.Scalars(name)} == pytest.approx(expected)


@needs("wandb")
def test_wandb_from_a_file(fit, tmp_path, plain):
    options = {"offline": True, "save_dir": str(tmp_path), "project": "ard"}
    path = tmp_path / "loggers.yaml"
    path.write_text(yaml.safe_dump({"trainer": {"logger": [WANDB | {"init_args": options}]}}))
    fit(tmp_path / "run", "ard", *EPOCHS, "-c", str(path))
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    assert timeless(rows) == timeless(plain)
    sys.modules["wandb"].finish()
    assert len(list(tmp_path.glob("wandb/offline-run-*/*.wandb"))) == 1  # what it holds is wandb's own affair
