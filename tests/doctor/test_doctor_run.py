"""`ard doctor` with the options of a run: a table, a status, and nothing on disk has changed."""

import re
from collections.abc import Mapping
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import torch
from known_digits import knowing
from pytorch_lightning.loggers import WandbLogger
from small_runs import DATA, cli, files_below, write_weights

from ard.doctor import folder_checks as places
from ard.doctor import trial_step
from ard.objectives.base import Objective
from ard.training.loggers import FallbackLogger, fallback_logger
from ard.training.room import check_room

TEACHER = "--model.init_args.teacher.init_args.weights"


class Diverging(Objective):
    """Its loss is not a number."""

    def forward(self, student, teacher, x, y):  # noqa: ARG002
        return None, lambda x_adv: {"ce": student(x_adv).mean() * torch.nan}


class Silent(Objective):
    """Its loss does not depend on the student."""

    def forward(self, student, teacher, x, y):  # noqa: ARG002
        return None, lambda x_adv: {"ce": 0 * student(x_adv).mean()}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    data = DATA | {"init_args": DATA["init_args"] | {"split_seed": 0}}
    return write_weights(
        tmp_path_factory.mktemp("good") / "student.safetensors", knowing(), classes=list("0123456789"), data=data
    )


@pytest.fixture
def doctor(command, capsys):
    """doctor(directory, recipe, *options): status, and the table as a mapping of checks to (found, verdict)."""

    def examine(directory, recipe, *options):
        words = command(directory, recipe, "--trainer.accelerator=cpu", *options)
        status, out, _ = cli(capsys, "doctor", *words[1:])
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in out.splitlines()[3:]]
        return status, {about: (found, verdict.strip("*")) for about, found, verdict in rows}

    return examine


def wrong(table: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    return {about: verdict for about, (_, verdict) in table.items() if verdict != "ok"}


@pytest.mark.fault(39)
def test_a_healthy_run(doctor, tmp_path, teacher, observed):
    before = files_below(tmp_path)
    eps = "--model.init_args.threat.init_args.eps=0.03"
    status, table = doctor(tmp_path / "run", "ard", f"{TEACHER}={teacher}", eps, "--trainer.max_epochs=4")
    assert (status, wrong(table)) == (0, {})
    assert files_below(tmp_path) == before
    expected = {"splits", "labels", "pixels", "validation images", "shared images", "other classes"}
    expected |= {"teacher: clean", "teacher: PGD-10"}
    expected |= {"teacher: classes", "teacher: data", "folder", "disk", "logger", "training step", "memory", "the whole run"}
    assert set(table) == expected | {"packages"}
    assert "148 steps of student 8 F + 8 B, teacher 1 F + 0 B passes, 4 validations" in table["the whole run"][0]
    observed(f"the doctor: disk: {table['disk'][0].partition(',')[0]}, folder: can be written")


def test_a_run_of_one_step(doctor, tmp_path):
    status, table = doctor(tmp_path / "run", "natural", "--trainer.max_epochs=1", "--data.init_args.batch_size=1000")
    assert (status, wrong(table)) == (0, {})
    # a busy machine tries smaller batches, of which there are several, and counts the passes of the second
    assert re.search(r": 1 step( of student 1 F \+ 1 B passes)?, 1 validation$", table["the whole run"][0])


@pytest.mark.parametrize("recipe", ["natural", "free_at"])
def test_runs_without_a_teacher(doctor, tmp_path, recipe):
    status, table = doctor(tmp_path / "run", recipe, "--trainer.max_epochs=8")
    assert (status, wrong(table)) == (0, {})
    assert not any(about.startswith("teacher") for about in table)
    assert files_below(tmp_path) == []


def test_what_is_wrong_is_an_error_and_the_other_checks_follow(doctor, tmp_path, teacher, teacher_file):
    status, table = doctor(tmp_path / "run", "ard", f"{TEACHER}={teacher_file}")  # a random one, and a card without data
    assert (status, wrong(table)["teacher: clean"], wrong(table)["teacher: data"]) == (1, "error", "warning")
    assert table["training step"][1] == "ok"
    options = ["--data=broken_data.Bright", f"{TEACHER}={teacher}", "--data.init_args.batch_size=32"]
    status, table = doctor(tmp_path / "run", "ard", *options)
    assert (status, wrong(table)["pixels"], wrong(table)["training step"]) == (1, "error", "error")
    assert "pixels in [0, 255]" in table["pixels"][0]
    assert table["labels"][1] == "ok"


@pytest.mark.parametrize(
    ("objective", "told"), [("Diverging", "gradient's norm is nan"), ("Silent", "gradient's norm is 0")]
)
def test_a_step_that_teaches_nothing(doctor, tmp_path, objective, told):
    status, table = doctor(tmp_path / "run", "natural", f"--model.init_args.objective=test_doctor_run.{objective}")
    assert (status, wrong(table)) == (1, {"training step": "error"})
    assert told in table["training step"][0]


def test_a_remembering_teacher_begins_no_table(doctor, tmp_path, teacher):
    before = files_below(teacher.parent)
    options = ["--model.init_args.teacher=ard.models.Cached", f"{TEACHER}={teacher}"]
    status, table = doctor(tmp_path / "run", "kd", *options)
    assert (status, table["training step"][1]) == (0, "ok")
    assert files_below(teacher.parent) == before


def place_of(path, **options):
    return SimpleNamespace(directory=path, resumes=False, loggers=[], engine=torch.nn.Linear(1000, 1000), **options)


@pytest.mark.fault(39)
def test_folders_and_disks(tmp_path, monkeypatch, observed):
    run = place_of(tmp_path / "a" / "run")
    assert [f.verdict for check in (places.folder, places.disk) for f in check(run)] == ["ok", "ok"]
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=30e6))
    (full,) = places.disk(run)
    assert (full.verdict, full.message) == ("error", "40.4 MB for checkpoints, 0.03 GB are free")
    asked: list[int] = []
    monkeypatch.setattr("os.posix_fallocate", lambda descriptor, offset, size: asked.append(size))  # noqa: ARG005
    check_room(tmp_path, run.engine)  # what a run asks for
    assert sum(asked) / 1e6 == pytest.approx(40.4, abs=0.05)
    observed(f"the doctor: error: {full.message}")
    monkeypatch.setattr("os.access", lambda *_: False)
    (closed,) = places.folder(run)
    assert (closed.verdict, "cannot be written" in closed.message) == ("error", True)
    (tmp_path / "last.ckpt").touch()
    (taken,) = places.folder(place_of(tmp_path))
    assert (taken.verdict, "already holds a run" in taken.message) == ("error", True)
    assert not (tmp_path / "a").exists()


@pytest.mark.fault(46)
@pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed")
def test_loggers_that_will_be_offline_or_absent(tmp_path, monkeypatch, observed):
    run = place_of(tmp_path)
    run.loggers = [FallbackLogger(WandbLogger(project="ard")), fallback_logger(Missing)]
    monkeypatch.setattr(places, "why_offline", lambda _: "http://127.0.0.1:9 cannot be reached (Connection refused)")
    offline, absent = places.loggers(run)
    assert (offline.verdict, absent.verdict) == ("warning", "warning")
    assert "No module named 'cloud'" in absent.message
    observed(f"the doctor: warning: {offline.message}")
    monkeypatch.setattr(places, "why_offline", lambda _: None)
    online, _ = places.loggers(run)
    assert (online.verdict, online.message) == ("ok", "WandbLogger, and metrics.csv")


class Missing(WandbLogger):
    def __init__(self):
        raise ModuleNotFoundError("No module named 'cloud'")


def test_a_batch_that_would_take_too_long_is_made_smaller(doctor, tmp_path, monkeypatch):
    monkeypatch.setattr(trial_step, "TRIAL_SECONDS", 0.0)
    _, table = doctor(tmp_path / "run", "pgd_at")
    assert "(with 16 of 32 images, for the time it takes)" in table["training step"][0]


def test_memory(monkeypatch):
    monkeypatch.setattr(trial_step, "_free", lambda: 10**9)
    assert [trial_step.room(need, torch.device("cpu")).verdict for need in (None, 10**8, 10**9)] == ["ok", "ok", "error"]


def test_help_and_options_that_fit_refuses(command, tmp_path, capsys):
    status, out, _ = cli(capsys, "doctor", "--help")
    assert (status, "any option of ard fit" in out) == (0, True)
    words = command(tmp_path, "natural", "--trainer.max_epochz=1")
    status, out, err = cli(capsys, "doctor", *words[1:])
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "did you mean 'max_epochs'?" in err
