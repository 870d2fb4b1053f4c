"""`ard study`: which runs are trained, in which order and when again; the processes are fakes that leave plausible files."""

import json
import subprocess

import pytest
from small_runs import FakeProcesses, cli, files_below, forget, workplace, write_yaml

from ard.cli import rehearse
from ard.study.job import RECORDS

TEACHER = "configs/teachers/digits_resnet.yaml"
STUDY = {
    "base": "configs/digits.yaml",
    "teachers": {"robust": TEACHER},
    "recipes": ["pgd_at", "ard", "fast_ard"],
    "jobs": 2,
    "overrides": {"fast_ard": {"trainer.max_epochs": 8}},
}
ALL = ["ard/seed0", "fast_ard/seed0", "pgd_at/seed0", "teachers/robust"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    monkeypatch.setattr("ard.study.display.Display._follow", lambda *_: None)  # it looks once a second
    return workplace(tmp_path, monkeypatch)


@pytest.fixture
def fake(monkeypatch):
    return FakeProcesses().install(monkeypatch)


@pytest.fixture
def study(place, capsys, monkeypatch):
    """study(**changes): status, stdout, stderr of the study with changed keys; no picture, which takes a second."""

    def run(*, picture=False, **changes):
        write_yaml(place / "tiny.yaml", {**STUDY, **changes})
        with monkeypatch.context() as patch:
            if not picture:
                patch.setattr("ard.report._picture", lambda *_: "no picture")
                patch.setattr("ard.report.differences_table", lambda *_: "no differences")
            return cli(capsys, "study", "tiny.yaml")

    return run


def test_a_study_trains_evaluates_and_compares_once(place, fake, study):
    status, out, err = study(picture=True)
    assert (status, err) == (0, "")
    orders = [command for command in fake.commands if command[0] == "fit"]
    assert fake.trained() == ALL
    directory = place / "checkpoints" / "tiny"
    assert all((directory / run / name).is_file() for run in ALL for name in RECORDS)
    assert all((directory / name).is_file() for name in ("table.md", "table.csv", "tradeoff.png"))
    table = (directory / "table.md").read_text()
    assert table in out
    assert all(name in table for name in ("pgd_at", "ard (last)", "fast_ard", "teachers/robust"))
    teacher = (
        f"--model.init_args.teacher.init_args.weights={directory.relative_to(place)}/teachers/robust/student.safetensors"
    )
    assert [teacher in order for order in orders].count(True) == 2
    again = study(picture=True)
    assert (again[0], fake.trained()) == (0, [])
    assert table in again[1]
    assert again[1].count("finished before") == len(ALL)


def test_seeds_and_teachers_multiply_what_depends_on_them(fake, study):
    """The split stays the same over seeds: no teacher may have seen a validation image."""
    status, out, _ = study(teachers={"wide": TEACHER, "deep": TEACHER}, recipes=["pgd_at", "ard"], seeds=[0, 1])
    students = [f"{name}/seed{seed}" for name in ("ard-deep", "ard-wide", "pgd_at") for seed in (0, 1)]
    fits = [rehearse(command) for command in fake.commands if command[0] == "fit"]
    assert status == 0
    assert fake.trained() == sorted([*students, "teachers/deep", "teachers/wide"])
    assert all(name in out for name in ("ard-deep", "ard-wide"))
    assert sorted(config["seed_everything"] for config in fits) == [0] * 5 + [1] * 3
    assert {config["data"]["init_args"]["split_seed"] for config in fits} == {0}


@pytest.mark.parametrize(
    ("changes", "trained"),
    [
        ({"overrides": {"fast_ard": {"trainer.max_epochs": 16}}}, ["fast_ard/seed0"]),
        ({"overrides": {**STUDY["overrides"], "robust": {"trainer.max_epochs": 3}}}, ALL[:2] + ALL[3:]),
        ({"seeds": [1]}, ["ard/seed1", "fast_ard/seed1", "pgd_at/seed1"]),
        ({"recipes": ["pgd_at", "natural"]}, ["natural/seed0"]),
    ],
    ids=["a recipe's override", "a teacher's override", "a seed", "a recipe"],
)
def test_what_changed_is_trained_again_from_its_start_and_no_more(changes, trained, fake, study):
    """From its start: a last.ckpt of the run as it was, or under the teacher that was, is not to be continued."""
    study()
    fake.commands = []
    assert study(**changes)[0] == 0
    assert [command for command in fake.commands if "--resume=auto" in command] == []
    assert fake.trained() == trained


def test_another_question_is_answered_without_training_anew(place, fake, study):
    """As it stands the finished run is continued, which ends at once."""
    study()
    fake.commands = []
    assert study(evaluate={"eps": 0.1})[0] == 0
    assert all("--resume=auto" in command for command in fake.commands if command[0] == "fit")
    evaluations = [command for command in fake.commands if command[0] == "evaluate"]
    assert len(evaluations) == len(ALL)
    assert all("--replace=True" in command for command in evaluations)
    record = json.loads((place / "checkpoints/tiny/ard/seed0/evaluation.json").read_text())
    assert record["threat"]["eps"] == 0.1


def test_an_interrupted_run_continues(place, fake, study):
    study()
    fake.commands = []
    for name in RECORDS:
        (place / "checkpoints/tiny/pgd_at/seed0" / name).unlink()
    assert study()[0] == 0
    fits = [command for command in fake.commands if command[0] == "fit"]
    assert ["--resume=auto" in fit for fit in fits] == [True]
    assert fake.trained() == ["pgd_at/seed0"]


@pytest.mark.parametrize("broken", ["pgd_at", "robust"])
def test_a_failed_run_is_named_and_the_others_finish(broken, fake, study):
    fake.broken = {broken}
    status, out, err = study()
    assert status == 1
    hurt = ["teachers/robust", "ard/seed0", "fast_ard/seed0"] if broken == "robust" else ["pgd_at/seed0"]
    assert [line.split(": ")[1] for line in err.splitlines()] == hurt
    assert "ended with status 2: boom" in err
    assert ("its teacher failed" in err) == (broken == "robust")
    assert "| pgd_at" in out or broken == "pgd_at"
    fake.trained()
    fake.broken = set()
    assert study()[0] == 0
    assert fake.trained() == sorted(hurt)


def test_a_study_whose_runs_all_fail_says_why(fake, study):
    fake.broken = {"checkpoints"}
    status, _, err = study(recipes=["pgd_at"], teachers={})
    assert "failed: pgd_at/seed0: ard fit ended with status 2: boom" in err
    assert status == 1


def test_a_damaged_record_is_measured_again(place, fake, study):
    study()
    fake.commands = []
    (place / "checkpoints/tiny/ard/seed0/evaluation.json").write_text('{"schema": 1, "wei')
    assert study()[0] == 0
    assert {command[0] for command in fake.commands} >= {"evaluate"}
    assert all("ard/seed0" in " ".join(command) for command in fake.commands)


def test_published_results_outlive_the_machine(place, fake, study):
    study(results="results")
    published = sorted(f"{run}/{name}" for run in ALL for name in (*RECORDS, "config.yaml"))
    tables = ["table.csv", "table.md"]
    assert files_below(place / "results") == sorted([*published, *tables])
    table = (place / "results" / "table.md").read_text()
    forget(place / "checkpoints")
    fake.commands = []
    status, out, err = study(results="results")
    assert (status, err, fake.commands) == (0, "", [])
    assert table in out
    records = [(place / "results" / run / "evaluation.json").read_text() for run in ALL]
    assert records == [(place / "checkpoints/tiny" / run / "evaluation.json").read_text() for run in ALL]


def test_a_new_student_after_a_lost_machine_gets_a_teacher(fake, study, place):
    """Its record is published, its weights are lost: they are needed again."""
    study(results="results", recipes=["pgd_at"])
    forget(place / "checkpoints")
    fake.trained()
    assert study(results="results", recipes=["pgd_at", "ard"])[0] == 0
    assert fake.trained() == ["ard/seed0", "teachers/robust"]


def test_results_may_be_asked_for_afterwards(place, fake, study):
    study()
    fake.trained()
    assert study(results="results")[0] == 0
    assert fake.trained() == []
    assert (place / "results/ard/seed0/evaluation.json").is_file()


def test_published_records_of_another_config_do_not_count(fake, study, place):
    study(results="results")
    forget(place / "checkpoints")
    fake.trained()
    study(results="results", overrides={**STUDY["overrides"], "pgd_at": {"trainer.max_epochs": 3}})
    assert "pgd_at/seed0" in fake.trained()


@pytest.mark.usefixtures("fake")
def test_a_run_that_no_study_began_is_left_alone(study, place):
    """`ard fit` writes where a study of the same name would."""
    folder = place / "checkpoints" / "tiny" / "ard" / "seed0"
    folder.mkdir(parents=True)
    (folder / "last.ckpt").write_bytes(b"days of work")
    status, out, err = study()
    assert (status, (folder / "last.ckpt").read_bytes()) == (1, b"days of work")
    assert "ard/seed0 holds a run that no study began: move it away" in out + err


@pytest.mark.usefixtures("fake")
def test_a_run_that_is_alive_is_left_alone(study, place, monkeypatch):
    def locked(*_):
        raise BlockingIOError

    study()
    folder = place / "checkpoints" / "tiny" / "ard" / "seed0"
    monkeypatch.setattr("ard.run.directory.fcntl.lockf", locked)
    status, out, err = study(overrides={"ard": {"trainer.max_epochs": 2}})
    assert (status, (folder / "student.safetensors").is_file()) == (1, True)
    assert "another run is writing here" in out + err
