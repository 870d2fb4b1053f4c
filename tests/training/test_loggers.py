"""metrics.csv is always there and complete; other loggers beside it see the same numbers and change none."""

import importlib.util
import sys

import pytest
import yaml
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger
from tiny import warned

from ard.artifacts.metrics import read_metrics
from ard.artifacts.run_name import RunName
from ard.training.loggers import FallbackLogger, log_image, name_runs

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
    same = {"step", "epoch", "lr", "train/loss", *TIMES, "val/clean_acc", "val/robust_acc", "val/loss", "val/chance"}
    teacher = {"val/teacher_on_student_adv_acc"} if engine.teacher is not None else set()
    attacked = {"train/robust_acc"} if recipe != "natural" else set()
    assert columns == same | {f"train/{term}" for term in terms} | teacher | attacked
    for key in {"val/clean_acc", "val/robust_acc", "train/attack_share"} | teacher | attacked:
        values = [float(row[key]) for row in rows if key in row]
        assert values
        assert all(0 <= value <= 1 for value in values)
    assert all(float(row["train/images_per_s"]) > 0 for row in rows if "train/images_per_s" in row)
    assert [row["step"] for row in rows] == ["0", "1"]
    for row in rows:
        assert float(row["train/loss"]) == pytest.approx(sum(float(row[f"train/{term}"]) for term in terms))


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


def robust_accuracies(rows):
    return [float(row["val/robust_acc"]) for row in rows if "val/robust_acc" in row]


@needs("tensorboard")
@pytest.mark.usefixtures("above_chance")
def test_tensorboard_from_the_command_line(fit, tmp_path, plain):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    logger = [f"--trainer.logger={TENSORBOARD['class_path']}", f"--trainer.logger.save_dir={tmp_path}"]
    engine = fit(tmp_path, "ard", *EPOCHS, *logger).model
    rows = read_metrics(tmp_path / "metrics.csv")
    assert timeless(rows) == timeless(plain)
    events = EventAccumulator(engine.trainer.loggers[1].log_dir).Reload()
    for name in {key for row in rows for key in row} - {"step", "epoch"}:  # TensorBoard's own are hp_metric and pictures
        expected = {int(row["step"]): float(row[name]) for row in rows if name in row}
        assert {event.step: event.value for event in events.Scalars(name)} == pytest.approx(expected)
    assert events.Scalars("hp_metric")[-1].value == pytest.approx(max(robust_accuracies(rows)))
    assert set(events.Tags()["images"]) == {"attacked", "trade_off"}
    told = HParamsPluginData.FromString(events.PluginTagToContent("hparams")["_hparams_/session_start_info"])
    told = {key: getattr(value, value.WhichOneof("kind")) for key, value in told.session_start_info.hparams.items()}
    assert {"method": "ard", "student": "MobileNetV2", "norm": "Linf", "eps": 0.15, "seed": 0}.items() <= told.items()


@needs("wandb")
@pytest.mark.usefixtures("above_chance")
def test_wandb_from_a_file(fit, tmp_path, plain):
    options = {"offline": True, "save_dir": str(tmp_path), "project": "ard"}
    path = tmp_path / "loggers.yaml"
    path.write_text(yaml.safe_dump({"trainer": {"logger": [WANDB | {"init_args": options}]}}))
    fit(tmp_path / "run", "ard", *EPOCHS, "-c", str(path))
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    assert timeless(rows) == timeless(plain)
    run = sys.modules["wandb"].run
    assert (run.config["method"], run.config["eps"], run.name, run.group) == ("ard", 0.15, "ard/seed0", "")
    best, last = max(robust_accuracies(rows)), robust_accuracies(rows)[-1]
    assert (run.summary["best/robust_acc"], run.summary["last/robust_acc"]) == pytest.approx((best, last))
    assert {"attacked", "trade_off"} <= set(run.summary.keys())
    run.finish()
    assert len(list(tmp_path.glob("wandb/offline-run-*/*.wandb"))) == 1  # what it holds is wandb's own affair


@needs("wandb")
def test_runs_of_a_study_are_a_group_and_what_the_user_calls_them_wins(tmp_path):
    from pytorch_lightning.loggers import WandbLogger

    name = RunName(study="levers", method="ard", role="student", swept={}, config_digest="")
    ours, theirs = (FallbackLogger(WandbLogger(offline=True, save_dir=tmp_path, **given)) for given in ({}, {"name": "x"}))
    name_runs([ours, theirs], lambda: name, 3)
    found = [[logger.logger._wandb_init[key] for key in ("group", "name")] for logger in (ours, theirs)]
    assert found == [["levers", "ard/seed3"], ["levers", "x"]]


def test_what_a_foreign_logger_cannot_take_is_a_warning_and_no_more():
    class Full(TensorBoardLogger):
        experiment = property(lambda _: (_ for _ in ()).throw(OSError("No space left on device")))

    with warned() as texts:
        log_image(Full("nowhere"), "attacked", Image.new("RGB", (8, 8)), 0)
    assert texts == ["Full: OSError: No space left on device"]
