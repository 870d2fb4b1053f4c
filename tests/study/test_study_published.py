"""`ard study` with records that another machine published: what counts as done, what is trained again, what a table has."""

import shutil
from dataclasses import replace

import pytest
from small_runs import FakeProcesses, forget

from ard.artifacts.paths import RECORDS
from ard.artifacts.record_file import read_record, write_record
from ard.study.tuning import Tuning

PUBLISHED = {"results": "results", "recipes": ["pgd_at", "ard", "rslad"], "overrides": {}, "jobs": 1}
TABLE = "results/table.md"


class Machine(FakeProcesses):
    """Whose weights are its own, and which is killed in the evaluation of some runs."""

    name, killed = b"first", ()

    def run(self, job, arguments):
        if arguments[0] == "evaluate" and any(name in str(job.run.directory) for name in self.killed):
            return "killed"
        return super().run(job, arguments)

    def fit(self, directory, resolved, *, resumes):
        super().fit(directory, resolved, resumes=resumes)
        for name in () if resumes else ("last.ckpt", "student.safetensors", "last.safetensors"):
            (directory / name).write_bytes((directory / name).read_bytes() + self.name)


@pytest.fixture
def machine(monkeypatch):
    return Machine().install(monkeypatch)


@pytest.fixture
def other_machine(study_place, machine, study):
    """One on which nothing but the published records of the study is."""
    assert study(**PUBLISHED)[0] == 0
    forget(study_place / "checkpoints")
    machine.trained()
    machine.name = b"second"
    return machine


def rows(text):
    return {line.split(" | ")[0].strip("| ") for line in text.splitlines() if line.startswith("| ") and "(last)" not in line}


def test_a_teacher_that_was_trained_again_and_not_evaluated_has_no_record_yet(study_place, other_machine, study):
    """The one that is published is of other weights, from which none of the new students may have learned."""
    shutil.rmtree(study_place / "results/rslad")
    other_machine.killed = ("teachers/robust",)
    assert study(**PUBLISHED)[0] == 1
    assert other_machine.trained() == ["teachers/robust"]
    other_machine.killed = ()
    assert study(**PUBLISHED)[0] == 0
    assert other_machine.trained() == ["ard/seed0", "rslad/seed0", "teachers/robust"]
    teacher = read_record(study_place / "results/teachers/robust/evaluation.json").weights.sha256
    students = [read_record(study_place / f"results/{name}/seed0/evaluation.json") for name in ("ard", "rslad")]
    assert [student.teacher for student in students] == [teacher] * 2
    assert study(**PUBLISHED)[0] == 0
    assert other_machine.trained() == []


def test_weights_that_were_not_evaluated_take_no_published_run_from_the_table(study_place, other_machine, study):
    results, kept = study_place / "results", study_place / "kept"
    results.rename(kept)
    other_machine.killed = ("pgd_at",)
    assert study(**{**PUBLISHED, "recipes": ["pgd_at"], "teachers": {}})[0] == 1
    shutil.rmtree(results, ignore_errors=True)
    kept.rename(results)
    assert other_machine.trained() == ["pgd_at/seed0"]
    status, out, err = study(**PUBLISHED)
    assert (status, err, other_machine.trained()) == (0, "", [])
    assert {"pgd_at", "ard", "rslad", "teachers/robust"} <= rows((study_place / TABLE).read_text())
    assert "pgd_at" in out


def test_who_moves_the_published_records_away_trains_all_anew(study_place, other_machine, study):
    """A look at the study first changes nothing of that."""
    assert study(**PUBLISHED)[0] == 0
    assert other_machine.trained() == []
    (study_place / "results").rename(study_place / "kept")
    assert study(**PUBLISHED)[0] == 0
    assert other_machine.trained() == ["ard/seed0", "pgd_at/seed0", "rslad/seed0", "teachers/robust"]


def test_another_radius_than_the_published_one_is_another_evaluation(study_place, machine, study):
    study(**PUBLISHED, evaluate={"eps": 0.3})
    machine.trained()
    assert study(**PUBLISHED)[0] == 0
    assert read_record(study_place / "results/ard/seed0/evaluation.json").threat.eps == 0.15


def test_a_given_teacher_that_is_elsewhere_is_as_the_records_say(study_place, machine, study):
    given = study_place / "given.safetensors"
    given.write_bytes(b"of somebody")
    section = {"class_path": "ard.models.Frozen", "init_args": {"weights": "given.safetensors"}}
    asked = {**PUBLISHED, "teachers": {}, "recipes": ["pgd_at", "ard"]}
    asked["overrides"] = {"ard": {"model.init_args.teacher": section}}
    assert study(**asked)[0] == 0
    machine.trained()
    given.unlink()
    status, out, err = study(**asked | {"results": None})
    assert (status, err, machine.trained()) == (0, "", [])
    assert "of another configuration or teacher" not in out
    forget(study_place / "checkpoints")
    status, _, err = study(**asked)
    assert (status, err, machine.trained()) == (0, "", [])
    given.write_bytes(b"of somebody else")
    assert study(**asked)[0] == 0
    assert machine.trained() == ["ard/seed0"]


def test_published_records_of_a_recipe_that_has_no_teacher_any_more_do_not_count(study_place, other_machine, study):
    shutil.copy("configs/methods/pgd_at.yaml", study_place / "ard.yaml")
    assert study(**{**PUBLISHED, "recipes": ["pgd_at", "ard.yaml", "rslad"]})[0] == 0
    assert other_machine.trained() == ["ard/seed0"]


@pytest.mark.parametrize("run", ["ard/seed0", "teachers/robust"])
def test_a_run_that_was_copied_in_part_is_trained_again(study_place, other_machine, study, run):
    (study_place / "results" / run / "config.yaml").unlink()
    assert study(**PUBLISHED)[0] == 0
    assert run in other_machine.trained()
    assert (study_place / "results" / run / "config.yaml").is_file()


def test_the_records_are_the_last_of_a_run_that_is_published(study_place, machine, study, monkeypatch):  # noqa: ARG001
    def ends(path, record):  # noqa: ARG001
        raise KeyboardInterrupt

    monkeypatch.setattr("ard.study.job.write_record", ends)
    assert study(**{**PUBLISHED, "recipes": ["pgd_at"], "teachers": {}})[0] == 130
    assert (study_place / "results/pgd_at/seed0/config.yaml").is_file()


def test_results_of_a_study_of_another_name_are_refused(study_place, other_machine, study):
    for name in RECORDS:
        file = study_place / "results/pgd_at/seed0" / name
        record = read_record(file)
        write_record(file, replace(record, run=replace(record.run, study="old")))
    status, _, err = study(**PUBLISHED)
    assert (status, other_machine.trained()) == (2, [])
    assert "results/pgd_at/seed0/evaluation.json is of the study 'old', and this one is 'tiny'" in err


def test_a_teacher_whose_weights_are_needed_again_is_counted_and_its_students_are_named(study_place, other_machine, study):
    shutil.rmtree(study_place / "results/rslad")
    _, out, _ = study(**PUBLISHED)
    assert "Training 2 runs costs " in out
    assert "the teachers of 1 finished runs are trained again" in " ".join(out.split())
    assert other_machine.trained() == ["ard/seed0", "rslad/seed0", "teachers/robust"]


def test_a_study_with_failures_publishes_no_table(study_place, other_machine, study):
    before = (study_place / TABLE).read_text()
    other_machine.broken = {"rslad"}
    shutil.rmtree(study_place / "results/rslad")
    status, out, _ = study(**PUBLISHED)
    assert (status, "rslad" in rows(out), (study_place / TABLE).read_text()) == (1, False, before)


def test_a_trial_of_an_older_config_hides_none_that_is_published(tmp_path):
    here, published = tmp_path / "here", tmp_path / "published"
    Tuning([here]).add("a", "old", {"lr": 0.1}, 0.4)
    Tuning([published]).add("a", "new", {"lr": 0.1}, 0.7)
    both = Tuning([here, published])
    assert (both.accuracy("a", "new"), both.accuracy("a", "old"), both.has("a"), both.has("b")) == (0.7, 0.4, True, False)
    both.add("b", "new", {"lr": 0.3}, 0.5)
    assert Tuning([published]).accuracy("a", "new") == 0.7
    Tuning([published]).add("c", "new", {"lr": 1.0}, 0.6)  # another study's, meanwhile
    both.add("d", "new", {"lr": 1.0}, 0.6)
    assert [Tuning([published]).has(name) for name in "abcd"] == [True] * 4
