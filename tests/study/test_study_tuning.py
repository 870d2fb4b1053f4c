"""A study that tunes: trials on validation images choose the settings of all seeds; the processes are fakes."""

import json
import math
import shutil

import pytest
import yaml
from small_runs import FakeProcesses, write_yaml
from tiny import user_error
from tiny_study import STUDY

from ard.study.study_file import read_study
from ard.study.tuning import Tuning

LR = "model.init_args.training.lr"
REACHED = {"pgd_at": {0.1: 0.4, 0.3: 0.6, 1.0: None}, "ard": {0.1: 0.7, 0.3: 0.7, 1.0: 0.2}}  # None: never above chance


class Trials(FakeProcesses):
    """Leaves the metrics of a run whose accuracy depends on its method and its rate."""

    def fit(self, directory, resolved, *, resumes):
        super().fit(directory, resolved, resumes=resumes)
        method = "ard" if "ard" in resolved["model"]["init_args"]["objective"]["class_path"].split(".")[2] else "pgd_at"
        reached = REACHED[method].get(resolved["model"]["init_args"]["training"]["lr"], 0.5)
        clean, robust = (0.1, 0.1) if reached is None else (0.9, reached)
        (directory / "metrics.csv").write_text(
            f"step,epoch,val/clean_acc,val/robust_acc,val/chance\n9,0,{clean},{robust},0.15\n"
        )


@pytest.fixture
def trials(monkeypatch):
    return Trials().install(monkeypatch)


def rates(place, runs):
    """The learning rate that each run was trained with."""
    configs = {run: yaml.safe_load((place / "checkpoints/tiny" / run / "config.yaml").read_text()) for run in runs}
    return {run: config["model"]["init_args"]["training"]["lr"] for run, config in configs.items()}


TUNED = {"recipes": ["pgd_at", "ard"], "seeds": [0, 1], "tune": {LR: [0.1, 0.3, 1.0]}}


def test_every_seed_takes_the_setting_of_the_best_trial(study_place, trials, study):
    status, out, err = study(**TUNED)
    assert (status, err) == (0, "")
    assert "Training 11 runs costs " in out  # a teacher, 2 × 3 trials, 2 × 2 seeds
    trained = trials.trained()
    assert [run for run in trained if run.startswith("tuning/")] == [
        f"tuning/{method}/lr-{rate}" for method in ("ard", "pgd_at") for rate in ("0.1", "0.3", "1")
    ]
    found = rates(study_place, [f"{method}/seed{seed}" for method in ("pgd_at", "ard") for seed in (0, 1)])
    assert found == {"pgd_at/seed0": 0.3, "pgd_at/seed1": 0.3, "ard/seed0": 0.1, "ard/seed1": 0.1}  # the first of equals
    assert "tuning" not in out.partition("| Method")[2]
    known = json.loads((study_place / "checkpoints/tiny/tuning.json").read_text())
    assert known["tuning/pgd_at/lr-1"]["accuracy"] == 0.0
    assert known["tuning/ard/lr-0.3"] | {"config_digest": ""} == {"setting": {LR: 0.3}, "accuracy": 0.7, "config_digest": ""}
    status, out, _ = study(**TUNED)
    assert (status, trials.trained(), " costs " in out) == (0, [], False)


@pytest.mark.usefixtures("study_place", "trials")
def test_that_no_trial_was_worth_anything_is_said(study):
    status, out, _ = study(**{**TUNED, "recipes": ["pgd_at"], "seeds": [0], "tune": {LR: [1.0, 1.5]}})
    assert (status, "no trial of its settings got above 0" in out) == (0, False)  # 1.5 came to 0.5
    status, out, _ = study(**{**TUNED, "recipes": ["pgd_at"], "seeds": [0], "tune": {LR: [1.0]}})
    assert (status, out.count("pgd_at/seed0: no trial of its settings got above 0")) == (0, 1)


def test_trials_are_not_repeated_where_their_results_are_published(study_place, trials, study):
    study(**TUNED, results="published")
    trials.trained()
    shutil.rmtree(study_place / "checkpoints/tiny")
    assert study(**TUNED, results="published")[0] == 0
    assert trials.trained() == []
    changed = {**TUNED, "overrides": {"pgd_at": {"trainer.max_epochs": 5}}}
    assert study(**changed, results="published")[0] == 0
    assert {run.partition("/seed")[0] for run in trials.trained()} == {
        "pgd_at",
        *(f"tuning/pgd_at/lr-{r}" for r in ("0.1", "0.3", "1")),
    }


def test_a_whole_number_may_be_tuned_where_no_other_may_stand(trials, study):
    assert study(**{**TUNED, "recipes": ["pgd_at"], "tune": {"data.init_args.batch_size": [32, 64]}})[0] == 0
    assert [run for run in trials.trained() if "tuning" in run] == [f"tuning/pgd_at/batch_size-{size}" for size in (32, 64)]


def test_every_fold_tunes_for_itself(trials, study):
    assert study(**{**TUNED, "recipes": ["pgd_at"], "seeds": [1], "folds": 2})[0] == 0
    assert trials.trained() == sorted(
        [f"pgd_at/fold{fold}/seed1" for fold in (0, 1)]
        + [f"tuning/pgd_at/fold{fold}/lr-{rate}" for fold in (0, 1) for rate in ("0.1", "0.3", "1")]
        + ["teachers/robust/fold0", "teachers/robust/fold1"]
    )


def test_what_the_trials_came_to_is_read_or_refused(study_place, trials, study):  # noqa: ARG001
    study(**TUNED)
    (study_place / "checkpoints/tiny/tuning.json").write_text('{"tuning/ard/lr-0.3": {"accuracy": "0.9"}}')
    status, _, err = study(**TUNED)
    assert status == 2
    assert "tuning.json is damaged" in err


@pytest.mark.parametrize(
    "harm",
    [
        {"accuracy": math.nan},  # no number is larger: it would be the best of all
        {"accuracy": 1.5},
        {"setting": {LR: "0.1"}},
        {"config_digest": None},
    ],
    ids=str,
)
def test_a_trial_of_which_a_value_cannot_be_is_refused(harm, tmp_path):
    file, trial = tmp_path / "tuning.json", {"setting": {LR: 0.1}, "accuracy": 0.5, "config_digest": "d"}
    Tuning([tmp_path]).add("a", "d", {LR: 0.1}, 0.5)
    assert json.loads(file.read_text()) == {"a": trial}
    assert Tuning([tmp_path]).accuracy("a", "d") == 0.5
    file.write_text(json.dumps({"a": {**trial, **harm}}))
    with user_error("tuning.json is damaged"):
        Tuning([tmp_path])


def test_a_trial_without_a_validation_fails_and_chooses_nothing(study_place, trials, study, monkeypatch):  # noqa: ARG001
    monkeypatch.setattr("ard.study.tuning.read_validations", lambda _: [])
    status, _, err = study(**{**TUNED, "recipes": ["pgd_at"]})
    assert status == 1
    assert "metrics.csv has no validation to read" in err
    assert "failed: pgd_at/seed0: a trial of its settings failed" in err


def test_a_trial_that_a_guard_ends_came_to_nothing_and_the_others_choose(study_place, study, monkeypatch):
    class Diverging(Trials):
        def fit(self, directory, resolved, *, resumes):
            super().fit(directory, resolved, resumes=resumes)
            if resolved["model"]["init_args"]["training"]["lr"] == 0.3:
                (directory / "summary.json").write_text('{"stopped": "the loss is not finite"}')
                return "ard fit ended with status 2: the loss is not finite"
            return None

    Diverging().install(monkeypatch)
    status, _, err = study(**{**TUNED, "recipes": ["pgd_at"]})
    assert (status, err) == (0, "")
    known = json.loads((study_place / "checkpoints/tiny/tuning.json").read_text())
    assert known["tuning/pgd_at/lr-0.3"]["accuracy"] == 0.0
    assert set(rates(study_place, ["pgd_at/seed0", "pgd_at/seed1"]).values()) == {0.1}


def test_a_key_to_tune_is_a_whole_path_and_no_other_setting(study_place, study):
    status, _, err = study(**{**TUNED, "tune": {"model.training.lr": [0.1, 0.3]}})
    assert status == 2
    assert "tune model.training.lr: expected the whole path in the config" in err
    for setting in ({"sweeps": {"ard": {LR: [0.1]}}}, {"overrides": {"ard": {LR: 0.1}}}):
        with user_error("lr is tuned, and set for ard: expected one of them"):
            read_study(write_yaml(study_place / "odd.yaml", {**STUDY, **TUNED, **setting}))


@pytest.mark.parametrize("numbers", [[], [0.1, 0.1], [0.1234561, 0.1234562]])
def test_numbers_to_tune_are_there_and_differ(numbers, study_place):
    with user_error(r"tune model.init_args.training.lr .*: expected numbers, each once"):
        read_study(write_yaml(study_place / "odd.yaml", {**STUDY, "tune": {LR: numbers}}))
