"""What is no study, or one that cannot run: one line that says what to do, and nothing written."""

import sys

import pytest
from small_runs import one_line, write_yaml

STUDY = {"base": "configs/digits.yaml", "recipes": ["pgd_at"]}
FROZEN = {"class_path": "ard.models.Frozen", "init_args": {"weights": "lost.safetensors"}}
BENCH = {"class_path": "ard.models.RobustBench", "init_args": {"name": "Made2020Up_WRN16_1"}}
PAIR = {"class_path": "ard.models.Ensemble", "init_args": {"members": [FROZEN, FROZEN]}}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"recipse": []}, "unknown key 'recipse'; did you mean 'recipes'?"),
        ({"evaluate": {"suite": "nope"}}, "study.yaml: evaluate: --suite nope: expected one of quick, standard, full"),
        ({"common": {"trainer.nope": 1}}, "pgd_at/seed0: unrecognized arguments: --trainer.nope=1"),
        ({"recipes": ["pgd_att"]}, "pgd_att: no such method; did you mean 'pgd_at'?"),
        ({"recipes": ["ard"]}, "recipe 'ard' distils, but the study names no `teachers:`"),
        ({"recipes": ["empty.yaml"]}, "empty.yaml"),
        ({"recipes": ["broken.yaml"]}, "broken.yaml"),
        ({"recipes": ["configs/schedules/one_cycle.yaml"]}, "objective"),
        ({"recipes": "pgd_at"}, "recipes"),
        ({"recipes": []}, "recipes = []: expected a method or more"),
        ({"base": "configs/digit.yaml"}, "configs/digit.yaml: no such base config; did you mean 'configs/digits.yaml'?"),
        ({"teachers": {"robust": "configs/teachers/nope.yaml"}}, "configs/teachers/nope.yaml"),
        ({"teachers": ["configs/teachers/digits_resnet.yaml"]}, "teachers"),
        ({"seeds": 3}, "seeds"),
        ({"seeds": ["a"]}, "seed"),
        ({"seeds": [1.5]}, "seed"),
        ({"seeds": []}, "seeds"),
        ({"jobs": "two"}, "jobs"),
        ({"jobs": 0}, "jobs"),
        ({"jobs": None}, "jobs: null; expected a value"),
        ({"recipes": None}, "recipes: null; expected a value"),
        ({"sweeps": {"pgd_at": {"trainer.max_epochs": [float("nan")]}}}, "nan: expected a finite number"),
        ({"overrides": ["trainer.max_epochs"]}, "overrides"),
        ({"overrides": {"pgdat": {"trainer.max_epochs": 1}}}, "pgdat"),
        ({"overrides": {"pgd_at": {"trainer.max_epochz": 1}}}, "did you mean 'max_epochs'?"),
        ({"evaluate": {"siute": "quick"}}, "siute"),
        ({"evaluate": {"suite": "quikc"}}, "quikc"),
        ({"evaluate": {"eps": 8}}, "8"),
        ({"evaluate": {"split": "tset"}}, "split"),
        ({"evaluate": {"norm": "Linfty"}}, "norm"),
        ({"evaluate": {"limit": "many"}}, "limit"),
        ({"evaluate": {"attacks": ["MIFGSM"]}}, "attacks"),
        ({"evaluate": {"attacks": "MIFGMS"}}, "has no attack 'MIFGMS'; did you mean 'MIFGSM'"),
        ({"evaluate": "quick"}, "evaluate"),
    ],
    ids=str,
)
def test_studies_that_cannot_run(changes, found, idle, capsys):
    write_yaml(idle / "empty.yaml", "")
    write_yaml(idle / "broken.yaml", "a: [1")
    write_yaml(idle / "study.yaml", {**STUDY, **changes})
    assert found in one_line(idle, capsys, "study", "study.yaml")


@pytest.mark.parametrize(
    ("teacher", "found"),
    [
        (FROZEN, "teacher lost.safetensors: no such file; expected its weights"),
        (PAIR, "teacher lost.safetensors: no such file; expected its weights"),
        (BENCH, "needs the package `robustbench`"),
    ],
    ids=["file", "ensemble", "robustbench"],
)
def test_a_given_teacher_that_is_not_there_is_missed_before_any_row_trains(teacher, found, idle, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "robustbench", None)
    write_yaml(idle / "study.yaml", {**STUDY, "recipes": ["pgd_at", "ard"], "given_teacher": teacher})
    assert found in one_line(idle, capsys, "study", "study.yaml")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("a: [1", "study.yaml"),
        ("- base", "study.yaml"),
        ("", "study.yaml"),
        ("hello", "study.yaml"),
        ("base: configs/digits.yaml", "recipes"),
        ("recipes: [pgd_at]", "base"),
    ],
)
def test_files_that_are_no_studies(content, found, idle, capsys):
    write_yaml(idle / "study.yaml", content)
    assert found in one_line(idle, capsys, "study", "study.yaml")
    assert "nope.yaml: no such study" in one_line(idle, capsys, "study", "nope.yaml")
