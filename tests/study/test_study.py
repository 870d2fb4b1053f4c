"""`ard study`: which runs are trained, in which order and when again; the processes are fakes that leave plausible files."""

import json
import shutil

import pytest
from small_runs import cli, files_below, forget, write_yaml
from tiny_study import STUDY, TEACHER

from ard.artifacts.paths import RECORDS
from ard.artifacts.record_file import read_record
from ard.cli.lightning import resolve_config
from ard.configs.catalogue import root
from ard.core.errors import UserError
from ard.report.comparison import compare_records

RUNS_OF_A_SWEEP = ["teachers/robust", "pgd_at/seed0", "ard-temperature-1/seed0", "ard-temperature-30/seed0"]
ALL = ["ard/seed0", "fast_ard/seed0", "pgd_at/seed0", "teachers/robust"]


def test_a_study_trains_evaluates_and_compares_once(study_place, fake, study):
    status, out, err = study(picture=True)
    assert (status, err) == (0, "")
    orders = [command for command in fake.commands if command[0] == "fit"]
    assert fake.trained() == ALL
    directory = study_place / "checkpoints" / "tiny"
    assert all((directory / run / name).is_file() for run in ALL for name in RECORDS)
    assert all((directory / name).is_file() for name in ("table.md", "table.csv", "tradeoff.png"))
    table = (directory / "table.md").read_text()
    assert table in out
    assert all(name in table for name in ("pgd_at", "ard (last)", "fast_ard", "teachers/robust"))
    weights = directory.relative_to(study_place) / "teachers/robust/student.safetensors"
    teacher = f"--model.teacher.weights={weights}"
    assert [teacher in order for order in orders].count(True) == 2
    again = study(picture=True)
    assert (again[0], fake.trained()) == (0, [])
    assert table in again[1]
    assert again[1].count("finished before") == len(ALL)


def test_seeds_and_teachers_multiply_what_depends_on_them(fake, study):
    """The split stays the same over seeds: no teacher may have seen a validation image."""
    status, out, _ = study(teachers={"wide": TEACHER, "deep": TEACHER}, recipes=["pgd_at", "ard"], seeds=[0, 1])
    students = [f"{name}/seed{seed}" for name in ("ard-deep", "ard-wide", "pgd_at") for seed in (0, 1)]
    fits = [resolve_config(command) for command in fake.commands if command[0] == "fit"]
    assert status == 0
    assert fake.trained() == sorted([*students, "teachers/deep", "teachers/wide"])
    assert all(name in out for name in ("ard-deep", "ard-wide"))
    assert sorted(config["seed_everything"] for config in fits) == [0] * 5 + [1] * 3
    assert {config["data"]["init_args"]["split_seed"] for config in fits} == {0}


@pytest.mark.usefixtures("fake")
def test_what_is_still_to_be_trained_is_told_with_its_cost_and_what_is_done_is_not(study):
    asked = {"recipes": ["pgd_at"], "teachers": {}, "overrides": {}}
    assert "Training 1 run costs " in study(**asked)[1]
    assert " costs " not in study(**asked)[1]
    assert "Training 2 runs costs " in study(**asked, seeds=[0, 1, 2])[1]


def test_where_the_baseline_failed_the_others_have_their_table(study_place, fake, study):
    fake.broken = {"pgd_at"}
    status, out, err = study(recipes=["pgd_at", "ard"], baseline="pgd_at", ladders=[["pgd_at", "ard"]], overrides={})
    assert status == 1
    assert "| ard |" in out
    assert "| ard |" in (study_place / "checkpoints/tiny/table.md").read_text()
    assert "without the study's baseline and ladders: --baseline pgd_at: no such row" in err
    fake.broken = set()
    status, out, err = study(
        recipes=["pgd_at", "ard"], baseline="pgd_at", ladders=[["pgd_at", "ard"]], overrides={}, picture=True
    )
    assert (status, err) == (0, "")
    assert "| pgd_at → ard |" in out


def test_each_condition_has_a_table_and_all_share_the_teachers(study_place, fake, study):
    rates = {name: {"model.init_args.training.lr": rate} for name, rate in (("slow", 0.01), ("fast", 1))}
    status, out, err = study(conditions=rates, recipes=["pgd_at", "ard"], picture=True)
    assert (status, err) == (0, "")
    assert fake.trained() == [
        "fast/ard/seed0",
        "fast/pgd_at/seed0",
        "slow/ard/seed0",
        "slow/pgd_at/seed0",
        "teachers/robust",
    ]
    for name in rates:
        table = (study_place / "checkpoints/tiny" / name / "table.md").read_text()
        assert table in out
        assert all(f"| {row} |" in table for row in ("pgd_at", "ard", "teachers/robust"))
        assert "slow" not in table.replace("tiny/slow/", "")
        assert "fast" not in table.replace("tiny/fast/", "")
    assert not (study_place / "checkpoints/tiny/table.md").exists()


def test_a_recipe_under_no_condition_is_trained_once_and_stands_in_every_table(study_place, fake, study):
    rates = {name: {"model.init_args.training.lr": rate} for name, rate in (("slow", 0.01), ("fast", 1))}
    asked = {"conditions": rates, "recipes": ["pgd_at", "ard"], "overrides": {"ard": {"model.init_args.training.lr": 0.1}}}
    status, _, err = study(**asked, without_condition=["ard"], baseline="pgd_at", last=True)
    assert (status, err) == (0, "")
    assert fake.trained() == ["ard/seed0", "fast/pgd_at/seed0", "slow/pgd_at/seed0", "teachers/robust"]
    for name in rates:
        table = (study_place / "checkpoints/tiny" / name / "table.md").read_text()
        assert all(row in table for row in ("| pgd_at (last) |", "| ard (last) | robust |", "| teachers/robust |"))
        assert "| Method − pgd_at (last) |" in table
        assert "| pgd_at |" not in table
    status, _, err = study(**asked)
    assert (status, "model.training.lr is set by fast and for ard: expected one of them" in err) == (2, True)


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


@pytest.mark.parametrize("more", [{}, {"undefended": "plain.safetensors"}], ids=["a radius", "a network beside it"])
def test_another_question_is_answered_without_training_anew(study_place, fake, study, more):
    """As it stands the finished run is continued, which ends at once."""
    study(evaluate={"eps": 0.1} if more else {})
    fake.commands = []
    assert study(evaluate={"eps": 0.1, **more})[0] == 0
    assert all("--resume=auto" in command for command in fake.commands if command[0] == "fit")
    evaluations = [command for command in fake.commands if command[0] == "evaluate"]
    assert len(evaluations) == len(ALL)
    assert all("--replace=True" in command for command in evaluations)
    record = json.loads((study_place / "checkpoints/tiny/ard/seed0/evaluation.json").read_text())
    assert record["threat"]["eps"] == 0.1


def test_an_interrupted_run_continues(study_place, fake, study):
    study()
    fake.commands = []
    for name in RECORDS:
        (study_place / "checkpoints/tiny/pgd_at/seed0" / name).unlink()
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


def test_a_damaged_record_is_measured_again(study_place, fake, study):
    study()
    fake.commands = []
    (study_place / "checkpoints/tiny/ard/seed0/evaluation.json").write_text('{"schema": 1, "wei')
    assert study()[0] == 0
    assert {command[0] for command in fake.commands} >= {"evaluate"}
    assert all("ard/seed0" in " ".join(command) for command in fake.commands)


def test_published_results_outlive_the_machine(study_place, fake, study):
    study(results="results")
    published = sorted(f"{run}/{name}" for run in ALL for name in (*RECORDS, "config.yaml"))
    tables = ["table.csv", "table.md"]
    assert files_below(study_place / "results") == sorted([*published, *tables])
    table = (study_place / "results" / "table.md").read_text()
    forget(study_place / "checkpoints")
    fake.commands = []
    status, out, err = study(results="results")
    assert (status, err, fake.commands) == (0, "", [])
    assert table in out
    records = [(study_place / "results" / run / "evaluation.json").read_text() for run in ALL]
    assert records == [(study_place / "checkpoints/tiny" / run / "evaluation.json").read_text() for run in ALL]


def test_published_students_of_two_teachers_need_neither_again(study_place, fake, study):
    asked = {"results": "results", "recipes": ["mtard"], "natural_teacher": TEACHER, "overrides": {}, "jobs": 1}
    assert study(**asked)[0] == 0
    assert fake.trained() == ["mtard/seed0", "teachers/natural", "teachers/robust"]
    forget(study_place / "checkpoints")
    assert study(**asked)[0] == 0
    assert fake.trained() == []


@pytest.mark.usefixtures("fake")
def test_what_comes_with_ard_publishes_into_its_repository_alone(place, capsys, monkeypatch):
    """From another folder, even one with docs/results, everything is below checkpoints/, and the study says so."""
    repository, here = place / "repository", place / "here"
    shutil.copytree(root(), repository / "configs")
    write_yaml(
        repository / "configs/studies/tiny.yaml", {"base": "digits", "recipes": ["pgd_at"], "results": "docs/results/tiny"}
    )
    for module in ("configs.catalogue", "study.study"):
        monkeypatch.setattr(f"ard.{module}.root", lambda: repository / "configs")
    for folder, publishes in ((here, False), (repository, True)):
        (folder / "docs/results").mkdir(parents=True)
        monkeypatch.chdir(folder)
        status, out, err = cli(capsys, "study", "tiny")
        assert (status, err) == (0, "")
        assert (folder / "checkpoints/tiny/pgd_at/seed0/evaluation.json").is_file()
        assert (folder / "docs/results/tiny/table.md").is_file() is publishes
        assert (folder / "checkpoints/tiny/table.md").is_file() is not publishes
        assert ("below checkpoints/tiny alone; docs/results/tiny is a folder of ard's repository" in out) is not publishes


def test_a_new_student_after_a_lost_machine_gets_a_teacher(fake, study, study_place):
    """Its record is published, its weights are lost: they are needed again."""
    study(results="results", recipes=["pgd_at"])
    forget(study_place / "checkpoints")
    fake.trained()
    assert study(results="results", recipes=["pgd_at", "ard"])[0] == 0
    assert fake.trained() == ["ard/seed0", "teachers/robust"]


def test_results_may_be_asked_for_afterwards(study_place, fake, study):
    study()
    fake.trained()
    assert study(results="results")[0] == 0
    assert fake.trained() == []
    assert (study_place / "results/ard/seed0/evaluation.json").is_file()


def test_published_records_of_another_config_do_not_count(fake, study, study_place):
    study(results="results")
    forget(study_place / "checkpoints")
    fake.trained()
    study(results="results", overrides={**STUDY["overrides"], "pgd_at": {"trainer.max_epochs": 3}})
    assert "pgd_at/seed0" in fake.trained()


@pytest.mark.usefixtures("fake")
def test_a_record_says_what_its_study_calls_the_run(study_place, study):
    """Method, role and what was swept: the folders that tell it, too, may be renamed."""
    key = "model.init_args.objective.init_args.temperature"
    status, out, _ = study(recipes=["pgd_at", "ard"], sweeps={"ard": {key: [1, 30]}}, overrides={})
    folder = study_place / "checkpoints" / "tiny"
    runs = {name: read_record(folder / name / "last.evaluation.json").run for name in RUNS_OF_A_SWEEP}
    assert status == 0
    assert {run.study for run in runs.values()} == {"tiny"}
    assert [run.method for run in runs.values()] == ["robust", "pgd_at", "ard", "ard"]
    assert [run.role for run in runs.values()] == ["teacher", "student", "student", "student"]
    assert [run.swept for run in runs.values()] == [{}, {}, {key: 1}, {key: 30}]
    assert all(name in out for name in ("| teachers/robust |", "| ard-temperature-30 (last) |"))
    moved = study_place / "elsewhere"
    moved.mkdir()
    for place, name in enumerate(runs):
        (folder / name).rename(moved / str(place))
    assert rows_of(compare_records([moved], moved)) == rows_of(out)


def rows_of(text):
    return [line for line in text.splitlines() if line.startswith("| ")]


def test_a_closed_folder_among_the_runs_takes_nothing_from_the_table(fake, study, monkeypatch):  # noqa: ARG001
    def closed(folder):
        raise UserError(f"{folder}/lost+found: cannot be read (Permission denied)")

    monkeypatch.setattr("ard.study.study.records_below", closed)
    status, out, err = study(seeds=[0])
    assert (status, "| pgd_at |" in out, "ard: warning: " in err, "lost+found: cannot be read" in err) == (
        0,
        True,
        True,
        True,
    )


def test_a_table_holds_the_runs_of_the_study_as_it_is_alone(study_place, fake, study):
    """Neither a seed that it has no more, nor what learned from a teacher that failed when it was to be trained anew."""
    study(seeds=[0, 1])
    status, _, err = study(seeds=[0])
    assert status == 0
    assert "in no table, as this study has no such run that ended well: " in err
    assert "checkpoints/tiny/ard/seed1" in err
    assert "one seed" in (study_place / "checkpoints/tiny/table.md").read_text()
    fake.broken = {"robust"}
    status, _, err = study(seeds=[0], overrides={**STUDY["overrides"], "robust": {"trainer.max_epochs": 3}})
    table = (study_place / "checkpoints/tiny/table.md").read_text()
    assert (status, "| pgd_at" in table, "| ard" in table) == (1, True, False)
    assert "checkpoints/tiny/ard/seed0" in err


def test_published_results_do_not_stand_for_other_weights_in_the_runs_folder(study_place, fake, study):
    """Changed, interrupted while it was evaluated, and changed back."""
    study(results="results")
    folder = study_place / "checkpoints/tiny/ard/seed0"
    for name in RECORDS:
        (folder / name).unlink()
    for name in ("last.ckpt", "student.safetensors", "last.safetensors", "digest.txt"):
        (folder / name).write_bytes(b"of another config")
    fake.commands = []
    status, _, err = study(results="results")
    assert (status, err, fake.commands) == (0, "", [])
    assert {"student.safetensors", "last.ckpt"} & set(files_below(folder)) == set()
    assert not (folder / "digest.txt").exists()
    assert "| ard" in (study_place / "results/table.md").read_text()


def test_no_student_learns_from_a_teacher_that_is_not_above_chance(study, study_place, monkeypatch):
    """Nor is it compared: `ard fit` ends with status 3 and says why."""

    def run(_, __, log, ___):
        with open(log, "a") as file:
            file.write("last epoch 3\nard: no epoch is above chance: ...\n")
        return 3

    monkeypatch.setattr("ard.study.processes.Processes.run", run)
    status, out, err = study(recipes=["ard"], overrides={})
    assert (status, out.splitlines()[-1]) == (1, "no run was finished, so there is nothing to compare")
    teacher, student = err.splitlines()
    assert teacher.startswith("failed: teachers/robust: ard fit ended with status 3: ard: no epoch is above chance")
    assert student == "failed: ard/seed0: its teacher failed"
    assert not (study_place / "checkpoints/tiny/ard/seed0/config.yaml").exists()
