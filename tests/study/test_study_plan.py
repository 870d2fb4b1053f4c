"""A study's runs: a directory of its own for each, and a command that anybody can repeat."""

import contextlib
import shlex
from pathlib import Path

import pytest
import yaml
from parsed_configs import remembered
from small_runs import cli, sha256, workplace, write_yaml
from tiny import user_error

from ard.cli.lightning import resolve_config
from ard.core.errors import UserError
from ard.study.plan import plan
from ard.study.resolving import Resolver
from ard.study.study_file import read_study
from ard.training.config_digest import config_digest

TEACHER = "configs/teachers/digits_resnet.yaml"
STUDY = {"base": "configs/digits.yaml", "teachers": {"robust": TEACHER}, "recipes": ["pgd_at", "ard"]}
FOLDER = Path("checkpoints/tiny")


@pytest.fixture
def place(tmp_path, monkeypatch):
    return workplace(tmp_path, monkeypatch)


def planned(study_file):
    """The runs of a study's file; below the same folder for all studies, so that runs of several are resolved once."""
    return plan(read_study(study_file), FOLDER, Resolver(remembered))


def directories(study_file):
    """Of all runs; none where the study is refused, which is as good."""
    with contextlib.suppress(UserError):
        return [run.directory for run in planned(study_file)]
    return []


@pytest.mark.parametrize(
    "changes",
    [
        {"recipes": ["pgd_at", "pgd_at"]},
        {"recipes": ["pgd_at", "mine/pgd_at.yaml"]},
        {"seeds": [0, 0]},
        {"recipes": ["ard-a", "ard"], "teachers": {"a": TEACHER, "b": TEACHER}},
    ],
    ids=str,
)
def test_no_two_runs_share_a_directory(changes, place):
    write_yaml(place / "mine/pgd_at.yaml", (place / "configs/methods/pgd_at.yaml").read_text())
    write_yaml(place / "tiny.yaml", {**STUDY, **changes})
    found = directories(place / "tiny.yaml")
    assert len(set(found)) == len(found)


def test_one_fold_comes_after_the_other_each_with_its_own_teacher_and_students(place):
    write_yaml(place / "tiny.yaml", {**STUDY, "seeds": [0, 1], "folds": 2})
    runs = planned(place / "tiny.yaml")
    names = [run.name for run in runs]
    mine = ["teachers/robust/fold", "pgd_at/fold/seed0", "pgd_at/fold/seed1", "ard/fold/seed0", "ard/fold/seed1"]
    assert names == [name.replace("fold", f"fold{fold}") for fold in (0, 1) for name in mine]
    for run in runs:
        fold = int(run.name.partition("/fold")[2][0])
        assert run.fold == {"data.init_args.fold": fold}
        assert {teacher.name for teacher in run.teachers.values()} <= {f"teachers/robust/fold{fold}"}
    write_yaml(place / "around.yaml", {**STUDY, "base": "configs/digits_labels.yaml", "recipes": ["pgd_at"], "folds": 2})
    around = planned(place / "around.yaml")
    assert [run.fold for run in around] == [{"data.init_args.base.init_args.fold": fold} for fold in (0, 0, 1, 1)]
    with user_error("folds = 1: expected 2 or more"):
        planned(write_yaml(place / "one.yaml", {**STUDY, "folds": 1}))


def test_a_fold_may_have_seeds_of_its_own_of_which_its_teacher_takes_the_first(place):
    asked = {**STUDY, "recipes": ["ard"], "folds": 2, "tune": {"model.init_args.training.lr": [0.1, 1]}}
    runs = planned(write_yaml(place / "tiny.yaml", {**asked, "seeds": [[0, 1], [2, 3]]}))
    assert [(run.seed, run.role) for run in runs if not run.tried] == [
        (seed, role) for first in (0, 2) for seed, role in ((first, "teacher"), (first, "student"), (first + 1, "student"))
    ]
    assert {(run.name.partition("fold")[2][0], run.seed) for run in runs if run.tried} == {("0", 0), ("1", 2)}
    shared = planned(write_yaml(place / "tiny.yaml", {**asked, "seeds": [0, 1]}))
    assert [run.seed for run in shared if not run.tried] == [0, 0, 1] * 2


def test_a_recipe_may_be_taught_by_some_of_the_teachers_and_its_rows_say_by_which(place):
    asked = {**STUDY, "recipes": ["pgd_at", "ard", "rslad"], "teachers": {"robust": TEACHER, "weak": TEACHER}}
    runs = planned(write_yaml(place / "tiny.yaml", {**asked, "taught_by": {"rslad": ["weak"]}}))
    students = {run.method: [teacher.method for teacher in run.teachers.values()] for run in runs if run.role == "student"}
    assert students == {"pgd_at": [], "ard-robust": ["robust"], "ard-weak": ["weak"], "rslad-weak": ["weak"]}


def test_runs_that_are_resolved_as_one_have_the_configs_that_they_would_have_alone(place):
    asked = {**STUDY, "base": "configs/digits_labels.yaml", "seeds": [0, 3], "folds": 2, "natural_teacher": TEACHER}
    asked |= {"recipes": ["ard", "mtard"], "conditions": {"right": {}, "wrong": {"data.init_args.wrong": 0.4}}}
    write_yaml(place / "tiny.yaml", asked)
    calls = []
    resolver = Resolver(lambda words: calls.append(words) or resolve_config(words))
    runs = plan(read_study(place / "tiny.yaml"), Path("checkpoints/tiny"), resolver)
    found = {run.name: resolver(run) for run in runs}
    assert len(calls) < len(runs) / 2
    for run in [*runs[:3], *runs[-3:]]:
        assert found[run.name] == resolve_config(run.arguments)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"folds": 6}, "fold = 5: expected 0 to 4"),
        ({"seeds": [0, -1]}, "seed_everything = -1"),
        ({"seeds": []}, "seeds = .*: expected a seed or more"),
        ({"seeds": [[0], [1]]}, "seeds = .*: expected a seed or more, or a list of them for each of `folds:`"),
        ({"folds": 2, "seeds": [[0]]}, "expected a seed or more, or a list"),
        ({"folds": 2, "seeds": [[0], []]}, "expected a seed or more, or a list"),
        ({"folds": 2, "seeds": [[0], [1, 2]]}, "expected as many for each fold"),
        ({"folds": 2, "seeds": [[0, 1], [2, 2]]}, "seeds .* repeat"),
        ({"common": {"seed_everything": 5}}, "seed_everything is set for every run; expected `seeds:`"),
        ({"overrides": {"ard": {"out": "mine"}}}, "out is set for ard"),
        ({"folds": 2, "sweeps": {"ard": {"data.init_args.fold": [0, 1]}}}, "expected `folds:`"),
        ({"baseline": "then-kd"}, "baseline: the study has no row 'then-kd'"),
        ({"evaluate": {"suite": {"class_path": "torch.nn.Linear", "init_args": {"in_features": -1}}}}, "suite"),
        ({"evaluate": {"data": "digits"}}, "evaluate: data: expected none, each run has its own"),
        ({"evaluate": {"rehearse": True}}, "evaluate: rehearse is for `ard study wrong --rehearse` alone"),
        ({"baseline": "pgd"}, "baseline: the study has no row 'pgd'; expected some of teachers/robust, pgd_at"),
        ({"ladders": [["pgd_at", "ard"], ["pgd_at", "kd"]]}, "ladders: the study has no row 'kd'"),
        ({"ladders": ["pgd_at"]}, "wrong.yaml: ladders: 'pgd_at': expected a list"),
        ({"taught_by": {"kd": ["robust"]}}, "taught_by for 'kd', which is none of its recipes"),
        ({"taught_by": {"ard": ["weak"]}}, "taught_by ard: .*weak.*: expected some of robust"),
        ({"taught_by": {"pgd_at": ["robust"]}}, "taught_by pgd_at: a recipe without a teacher"),
        ({"taught_by": {"ard": []}}, "taught_by ard: .*: expected some of robust"),
        ({"ladders": [["pgd_at"]]}, "ladders: .*pgd_at.*: expected two rows or more"),
    ],
    ids=str,
)
def test_a_mistake_of_any_run_is_told_before_the_first(changes, words, place):
    recipes = {"recipes": ["ard"]} if "sweeps" in changes else {"recipes": ["pgd_at"]} if "folds" in changes else {}
    write_yaml(place / "wrong.yaml", {**STUDY, **recipes, **changes})
    resolver = Resolver(resolve_config)
    with user_error(words):
        [resolver(run) for run in plan(read_study(place / "wrong.yaml"), place, resolver)]


def test_every_recipe_is_trained_under_every_condition_and_teachers_under_none(place):
    wrong = "data.init_args.wrong"
    asked = {**STUDY, "base": "configs/digits_labels.yaml", "folds": 2}
    asked |= {"conditions": {"right": {}, "wrong-40": {wrong: 0.4}}, "tune": {"model.init_args.training.lr": [0.1, 1]}}
    runs = planned(write_yaml(place / "tiny.yaml", asked))
    students = [run for run in runs if run.role == "student" and not run.tried]
    assert len({run.directory for run in runs}) == len(runs) == 2 + 8 + 16
    assert {run.name for run in students} == {
        f"{condition}/{recipe}/fold{fold}/seed0"
        for condition in ("right", "wrong-40")
        for recipe in STUDY["recipes"]
        for fold in (0, 1)
    }
    for run in runs:
        assert run.overrides.get(wrong) == (0.4 if "wrong-40/" in run.name else None), run.name
        assert all(trial.overrides.get(wrong) == run.overrides.get(wrong) for trial in run.trials)
    assert {run.study for run in students} == {"tiny/right", "tiny/wrong-40"}
    for changes, words in (
        ({"conditions": {"../x": {}}}, "condition '../x': expected a name of letters"),
        ({"conditions": {"ard": {}}}, "that no recipe has"),
        ({"without_condition": ["rslad"]}, "without_condition: rslad: expected one of its recipes"),
        ({"without_condition": ["ard"], "conditions": {}}, "without_condition: ard: expected one of its recipes, and `cond"),
        ({"sweeps": {"pgd_at": {wrong: [0.1, 0.2]}}}, "data.wrong is set by wrong-40 and for pgd_at: expected one"),
        ({"overrides": {"ard": {"data.wrong": 0.1}}}, "data.wrong is set by wrong-40 and for ard: expected one"),
        ({"overrides": {"ard": {"data": {"init_args": {"wrong": 0}}}}}, "data.wrong is set by wrong-40 and for ard"),
        ({"overrides": {"ard": {"lr": 0.1}}}, "is tuned, and set for ard"),
        ({"conditions": {"a": {"model.init_args.training.lr": 1}}}, "is tuned, and set for a"),
    ):
        with user_error(words):
            planned(write_yaml(place / "wrong.yaml", asked | changes))


def test_two_settings_of_one_name_are_refused(place):
    """One folder would hold both, and one of them would never be trained."""
    steps = {f"model.init_args.{part}.init_args.steps": [5, 10] for part in ("attack", "val_attack")}
    for swept in (steps, {"model.init_args.training.lr": [0.1234561, 0.1234562]}):
        study = write_yaml(place / "wrong.yaml", STUDY | {"sweeps": {"pgd_at": swept}})
        with user_error(r"2 runs would be called pgd_at-\S+: expected swept settings whose last words or numbers differ"):
            planned(study)


def test_a_common_student_is_no_teachers_network(place):
    """A large robust teacher would be trained at the student's size."""
    network = {"class_path": "ard.models.ResNet", "init_args": {"in_channels": 1, "width": 4, "blocks": [1]}}
    for common in ({"model.init_args.student": network}, {"student": network}, {"model.student.init_args.width": 0.25}):
        write_yaml(place / "tiny.yaml", {**STUDY, "common": common})
        runs = planned(place / "tiny.yaml")
        assert {run.role: set(run.overrides) & set(common) for run in runs} == {"teacher": set(), "student": set(common)}


def test_a_schedule_is_read_after_its_recipe_and_common_keys_are_everybodys(place):
    asked = {**STUDY, "schedules": {"ard": "ard", "robust": "one_cycle"}, "common": {"trainer.max_epochs": 7}}
    runs = planned(write_yaml(place / "tiny.yaml", asked))
    found = {run.name: remembered(run.arguments) for run in runs}
    assert [run.configs[2:] for run in runs] == [("configs/schedules/one_cycle.yaml",), (), ("configs/schedules/ard.yaml",)]
    schedules = {name: config["model"]["init_args"]["training"]["schedule"] for name, config in found.items()}
    assert schedules == {"teachers/robust": "one_cycle", "pgd_at/seed0": "one_cycle", "ard/seed0": "multistep"}
    assert {config["trainer"]["max_epochs"] for config in found.values()} == {7}  # the schedule of ARD says 200


def test_an_override_may_name_a_class_which_planning_does_not_build(place):
    whole = {"class_path": "ard.objectives.rslad.RSLAD", "init_args": {"alpha": 0.5}}
    overrides = {"ard": {"model.init_args.objective": whole}}
    runs = planned(write_yaml(place / "tiny.yaml", {**STUDY, "overrides": overrides}))
    objective = remembered(runs[-1].arguments)["model"]["init_args"]["objective"]
    assert (objective["class_path"], objective["init_args"]["alpha"]) == ("ard.objectives.rslad.RSLAD", 0.5)
    assert read_study(place / "tiny.yaml").overrides == overrides


def test_a_plan_has_teachers_first_and_a_run_for_each_recipe_and_seed(place):
    write_yaml(place / "tiny.yaml", {**STUDY, "seeds": [0, 1]})
    found = [str(directory.relative_to(FOLDER)) for directory in directories(place / "tiny.yaml")]
    assert found == ["teachers/robust", "pgd_at/seed0", "pgd_at/seed1", "ard/seed0", "ard/seed1"]


def test_a_command_in_the_log_can_be_given_to_a_shell(place, monkeypatch, capsys):
    """The real _process, its program replaced: what it logs, read as a shell reads it, is the run that it is for."""

    monkeypatch.setattr("ard.study.processes.Processes.run", lambda *_: 2)
    stages = [[1, 16, 1, 1], [2, 24, 1, 2]]
    overrides = {"pgd_at": {"model.init_args.student.init_args.stages": stages, "trainer.max_epochs": 3}}
    write_yaml(place / "tiny.yaml", {**STUDY, "teachers": {}, "recipes": ["pgd_at"], "overrides": overrides})
    cli(capsys, "study", "tiny.yaml")
    log = (place / "checkpoints/tiny/pgd_at/seed0/log.txt").read_text()
    program, *arguments = shlex.split(log.splitlines()[0].removeprefix("$ "))
    run = planned(place / "tiny.yaml")[0]
    resolved = remembered(arguments)
    assert program == "ard"
    assert resolved["model"]["init_args"]["student"]["init_args"]["stages"] == stages
    assert config_digest(resolved) == config_digest(remembered(run.arguments))


def test_a_method_with_a_second_teacher_waits_for_it_too(place):
    second = {"natural_teacher": "configs/teachers/digits_natural.yaml", "recipes": ["pgd_at", "mtard"]}
    write_yaml(place / "tiny.yaml", STUDY | second)
    runs = planned(place / "tiny.yaml")
    assert [run.name for run in runs] == ["teachers/robust", "teachers/natural", "pgd_at/seed0", "mtard/seed0"]
    *_, mtard = runs
    assert [teacher.name for teacher in mtard.teachers.values()] == ["teachers/robust", "teachers/natural"]
    config = remembered(mtard.arguments)["model"]["init_args"]
    assert config["teacher"]["init_args"]["weights"].endswith("teachers/robust/student.safetensors")
    second = config["objective"]["init_args"]["natural_teacher"]["init_args"]["weights"]
    assert second.endswith("teachers/natural/student.safetensors")


def test_a_second_teacher_that_the_study_does_not_name(place):
    write_yaml(place / "tiny.yaml", STUDY | {"recipes": ["mtard"]})
    with user_error("names no `natural_teacher:`"):
        planned(place / "tiny.yaml")


def test_any_teacher_that_a_resolved_config_lacks_is_waited_for(place):
    """Whatever the argument is called, and however deep its objective lies; weights that a recipe names itself stay."""
    two = {"class_path": "ard.models.Frozen", "init_args": {"weights": ""}}
    objective = {"class_path": "X", "init_args": {"base": {"init_args": {"judge": two}}, "own": two, "named": dict(two)}}
    objective["init_args"]["named"] = {"class_path": "ard.models.Cached", "init_args": {"weights": "given.pt"}}
    resolved = {"model": {"init_args": {"student": {"class_path": "ard.models.ResNet"}, "objective": objective}}}
    others = {"other_teachers": {"judge": TEACHER, "own": "configs/teachers/digits_natural.yaml"}}
    write_yaml(place / "tiny.yaml", STUDY | {"recipes": ["pgd_at"]} | others)
    runs = plan(read_study(place / "tiny.yaml"), Path("x"), lambda *_: resolved)
    assert [run.name for run in runs] == ["teachers/robust", "teachers/judge", "teachers/own", "pgd_at/seed0"]
    place_of = {place: run.name for place, run in runs[-1].teachers.items()}
    deep = "objective.init_args.base.init_args.judge"
    assert place_of == {deep: "teachers/judge", "objective.init_args.own": "teachers/own"}
    write_yaml(place / "tiny.yaml", STUDY | {"recipes": ["pgd_at"]})
    with user_error("names no `other_teachers: {judge: CONFIG}`"):
        plan(read_study(place / "tiny.yaml"), Path("x"), lambda *_: resolved)


def test_a_teacher_whose_network_is_not_ours_comes_with_it(place):
    resolved = {"model": {"init_args": {"student": {"class_path": "mynet.Net"}}}}
    distils = {"model": {"init_args": {**resolved["model"]["init_args"], "teacher": {"class_path": "ard.models.Frozen"}}}}
    write_yaml(place / "tiny.yaml", STUDY | {"recipes": ["ard"]})
    runs = plan(read_study(place / "tiny.yaml"), Path("x"), lambda *words: distils if TEACHER not in words else resolved)
    assert '--model.teacher.network={"class_path": "mynet.Net"}' in runs[-1].arguments


def test_a_sweep_is_a_run_for_each_number(place):
    key = "model.init_args.objective.init_args.temperature"
    sweep = {"sweeps": {"ard": {key: [1, 30]}}, "overrides": {"ard": {"trainer.max_epochs": 2}}}
    write_yaml(place / "tiny.yaml", STUDY | sweep)
    runs = planned(place / "tiny.yaml")
    assert [run.name for run in runs[1:]] == ["pgd_at/seed0", "ard-temperature-1/seed0", "ard-temperature-30/seed0"]
    configs = [remembered(run.arguments) for run in runs[2:]]
    assert [config["model"]["init_args"]["objective"]["init_args"]["temperature"] for config in configs] == [1, 30]
    assert {config["trainer"]["max_epochs"] for config in configs} == {2}


@pytest.mark.parametrize("jobs", [0, -1, 10**9])
def test_as_many_jobs_as_no_machine_has(place, jobs):
    write_yaml(place / "tiny.yaml", STUDY | {"jobs": jobs})
    with user_error(f"jobs = {jobs}: expected 1 to 1000"):
        read_study(place / "tiny.yaml")


def test_a_sweep_of_nothing(place):
    write_yaml(place / "tiny.yaml", STUDY | {"sweeps": {"adr": {"trainer.max_epochs": [1]}}})
    with user_error("a sweep of 'adr'"):
        read_study(place / "tiny.yaml")


def test_both_teachers_count_by_their_contents(place):
    resolved = remembered(["fit", "-c", "configs/digits.yaml", "-c", "configs/methods/mtard.yaml"])
    digests = []
    for content in (b"1", b"1", b"2"):
        (place / "second").write_bytes(content)
        config = yaml.safe_load(yaml.safe_dump(resolved))
        config["model"]["init_args"]["objective"]["init_args"]["natural_teacher"]["init_args"]["weights"] = "second"
        digests.append(config_digest(config))
    assert digests[0] == digests[1] != digests[2]


def test_a_teacher_counts_by_its_contents_wherever_it_lies(place):
    resolved = remembered(["fit", "-c", "configs/digits.yaml", "-c", "configs/methods/ard.yaml"])
    digests = []
    (place / "run").mkdir()
    (place / "run/student.safetensors").write_bytes(b"1")
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (place / name).write_bytes(content)
        config = yaml.safe_load(yaml.safe_dump(resolved))
        config["model"]["init_args"]["teacher"]["init_args"]["weights"] = name
        digests.append(config_digest(config))
        assert config_digest(config, {name: sha256(place / name)}) == digests[-1]
    assert digests[0] == digests[1] != digests[2]
    config["model"]["init_args"]["teacher"]["init_args"]["weights"] = "run"
    assert config_digest(config) == digests[0]
    starts = []
    for start in ("run", "run/student.safetensors", "a", "c"):
        config["model"]["init_args"]["init"] = start
        starts.append(config_digest(config))
    assert starts[0] == starts[1] == starts[2] != starts[3]  # by its contents, as a teacher
    assert config_digest(config, {"c": sha256(place / "a")}) == starts[0]
    (place / "c").unlink()
    assert config_digest(config) not in starts
