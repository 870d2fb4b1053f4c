"""`ard study NAME --rehearse`: the whole study at a toy size, and nothing that belongs to the real one is touched."""

import sys

import pytest
from small_runs import cli, files_below, one_line, workplace, write_yaml
from tiny import user_error

from ard.artifacts.paths import RECORDS
from ard.artifacts.record_file import read_record
from ard.cli.lightning import resolve_config
from ard.configs.catalogue import names, root
from ard.study.architectures import architecture
from ard.study.plan import plan
from ard.study.rehearsal import rehearsal_of
from ard.study.resolving import Resolver
from ard.study.study_file import Study, read_study

SMALL = {"base": "configs/digits.yaml", "teachers": {"robust": "digits_resnet"}, "recipes": ["pgd_at", "fast_ard"]}
GIVEN = {"class_path": "ard.models.RobustBench", "init_args": {"name": "Made2020Up_WRN16_1", "dataset": "cifar100"}}


def study_of(**changes):
    return Study(**{**SMALL, **changes})


@pytest.mark.slow
def test_all_of_a_study_is_tried_and_nothing_of_the_real_one_is_touched(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_yaml(tmp_path / "mine.yaml", {**SMALL, "seeds": [0, 1], "evaluate": {"suite": "standard"}, "jobs": 2})
    real = tmp_path / "checkpoints/mine/pgd_at/seed0"
    real.mkdir(parents=True)
    (real / "last.ckpt").write_text("real")
    status, out, err = cli(capsys, "study", "mine", "--rehearse")
    assert (status, err) == (0, "")
    own = tmp_path / "checkpoints/mine-rehearsal"
    assert files_below(tmp_path / "checkpoints/mine") == ["pgd_at/seed0/last.ckpt"]
    for run in ("teachers/robust", "pgd_at/seed0", "fast_ard/seed0"):
        for name in RECORDS:
            record = read_record(own / run / name)
            assert (record.is_rehearsed, record.suite, record.n) == (True, "standard", 5)
            assert {"APGD-CE", "Square"} <= {attack.name for attack in record.attacks}
    assert (own / "table.md").read_text().startswith("A rehearsal, not a result")
    assert "| fast_ard | 2 |" in out.partition("What the real study costs")[2]
    assert not list(own.rglob("*.ckpt"))
    assert not list(own.rglob("*.safetensors"))


def test_a_failed_run_has_its_line_and_the_status_says_so(study_place, fake, capsys):
    write_yaml(study_place / "mine.yaml", SMALL)
    fake.broken = {"fast_ard"}
    status, out, err = cli(capsys, "study", "mine", "--rehearse")
    assert status == 1
    assert err.count("failed: ") == 1
    assert err.startswith("failed: fast_ard/seed0: ")
    assert "log.txt" in err
    assert "What the real study costs" in out


def test_a_folder_that_is_no_rehearsal_is_left_alone(study_place, fake, capsys):  # noqa: ARG001
    write_yaml(study_place / "mine.yaml", SMALL)
    write_yaml(study_place / "checkpoints/mine-rehearsal/table.md", "mine")
    err = one_line(study_place, capsys, "study", "mine", "--rehearse")
    assert "is no rehearsal" in err


def test_a_second_rehearsal_begins_anew(tmp_path):
    rehearsal_of(study_of(), tmp_path)
    (tmp_path / "pgd_at").mkdir()
    (tmp_path / "pgd_at/evaluation.json").write_text("of before")
    rehearsal_of(study_of(), tmp_path)
    assert files_below(tmp_path) == ["rehearsal.txt"]


def test_a_toy_publishes_nothing_and_keeps_what_is_compared(tmp_path):
    study = study_of(
        results="docs/results/mine", overrides={"pgd_at": {"trainer.max_epochs": 99, "model.init_args.training.lr": 0.3}}
    )
    toy = rehearsal_of(study, tmp_path).study
    assert toy.results is None
    assert toy.overrides["pgd_at"] == {"model.init_args.training.lr": 0.3}
    assert toy.overrides["fast_ard"]["trainer.max_epochs"] == 8
    assert toy.evaluate["rehearse"]


LONG = {"trainer.max_epochs": 360, "trainer.check_val_every_n_epoch": 9, "data.init_args.labelled": 100}


def test_what_conditions_and_common_keys_make_long_is_as_short(tmp_path, monkeypatch):
    """Also of images around which a class lies, and by the short names of keys."""
    place = workplace(tmp_path, monkeypatch)
    few = {**LONG, "data.init_args.base.init_args.batch_size": 100}
    changes = {"conditions": {"few": few, "all": {"epochs": 40}}, "sweeps": {"pgd_at": {"trainer.max_epochs": [10, 20]}}}
    study = study_of(base="digits_labels", recipes=["pgd_at"], folds=5, common={"epochs": 50}, **changes)
    (place / "own").mkdir()
    toy = rehearsal_of(study, place / "own").study
    resolver = Resolver(resolve_config)
    runs = plan(toy, place / "own", resolver)
    assert [run.name for run in runs[1:]] == ["few/pgd_at/fold0/seed0", "all/pgd_at/fold0/seed0"]
    for run in runs:
        config = resolver(run)
        assert [config["trainer"][key] for key in ("max_epochs", "check_val_every_n_epoch")] == [1, 1]
        assert config["data"]["init_args"]["base"]["init_args"]["batch_size"] == 4
        assert config["data"]["init_args"]["labelled"] == (100 if "few" in run.name else None)


def test_random_images_have_the_shape_of_the_data_that_common_keys_name(tmp_path, monkeypatch):
    place = workplace(tmp_path, monkeypatch)
    mine = {"data": "ard.data.ImageFolder", "data.root": "photos", "data.size": 48, "data.flip": False}
    study = study_of(base="cifar10", recipes=["pgd_at"], common=mine, conditions={"a": {"data.init_args.name": "other"}})
    (place / "own").mkdir()
    found = rehearsal_of(study, place / "own")
    assert found.instead[0].startswith("random images of 48×48 and 10 classes in place of the data: photos")
    common = found.study.common
    assert {"data": "ard.data.RandomImages", "data.flip": False, "data.init_args.size": 48}.items() <= common.items()
    assert "data.root" not in common
    assert found.study.conditions == {"a": {}}


def test_a_cached_teacher_that_is_given_gets_no_table_beside_its_weights(tmp_path):
    given = {"class_path": "ard.models.Cached", "init_args": {"weights": "mine.safetensors"}}
    toy = rehearsal_of(study_of(teachers={}, given_teacher=given), tmp_path).study
    assert toy.given_teacher == {"class_path": "ard.models.Frozen", "init_args": {"weights": "mine.safetensors"}}


def test_what_is_not_there_is_made_up_and_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "robustbench", None)
    (tmp_path / "own").mkdir()
    found = rehearsal_of(study_of(base="cifar100", teachers={}, given_teacher=GIVEN), tmp_path / "own")
    data, teacher, refused = found.instead
    assert data.startswith("random images of 32×32 and 100 classes in place of the data: data/ holds no intact CIFAR100")
    assert "WideResNet (depth 16, widen 1)" in teacher
    assert "models/cifar100/Linf/Made2020Up_WRN16_1.pt is not there" in teacher
    assert refused.startswith("the real study will be refused: ard.models.RobustBench needs the package `robustbench`")
    assert found.study.given_teacher["class_path"] == "ard.models.Frozen"
    assert found.study.common["data.init_args.classes"] == 100
    assert files_below(tmp_path) == ["own/Made2020Up_WRN16_1.safetensors", "own/rehearsal.txt"]


@pytest.mark.parametrize(
    ("name", "dataset", "network", "known"),
    [
        ("Chen2021LTD_WRN34_10", "cifar10", {"depth": 34, "widen": 10}, True),
        ("Zhang2019Theoretically", "cifar10", {"depth": 34, "widen": 10}, True),
        ("Gowal2020Uncovering", "cifar100", {"depth": 70, "widen": 16}, True),
        ("Rebuffi2021Fixing_70_16_cutmix_extra", "cifar10", {"depth": 70, "widen": 16}, True),
        ("Salman2020Do_R50", "imagenet", {"name": "resnet50"}, True),
        ("Addepalli2022Efficient_RN18", "cifar10", {}, False),
    ],
)
def test_a_name_of_robustbench_says_its_architecture(name, dataset, network, known):
    found, exact = architecture(name, dataset)
    assert (found["init_args"], exact) == (network, known)


@pytest.mark.parametrize("name", names("studies"))
def test_every_study_that_comes_with_ard_is_read(name):
    study = read_study(root() / f"studies/{name}.yaml")
    known = set(names("methods"))
    assert set(study.recipes) <= known
    assert set(study.schedules) <= {*study.recipes, *study.teachers}
    assert set(study.schedules.values()) <= set(names("schedules"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"given_teacher": GIVEN}, "no `teachers` beside it"),
        ({"teachers": {}, "given_teacher": {"name": "x"}}, "expected {class_path, init_args}"),
        ({"only_fold": 0}, "only_fold = 0: expected `folds:`"),
        ({"folds": 2, "only_fold": 2}, "only_fold = 2"),
    ],
)
def test_a_study_says_what_it_cannot_do(changes, message):
    with user_error(message):
        study_of(**changes)


def test_a_schedule_is_of_a_recipe_and_is_there(study_place, capsys):
    write_yaml(study_place / "mine.yaml", {**SMALL, "schedules": {"adv": "ard"}})
    assert "schedules for 'adv'" in one_line(study_place, capsys, "study", "mine")
    write_yaml(study_place / "mine.yaml", {**SMALL, "schedules": {"pgd_at": "adr2"}})
    assert "adr2: no such schedule" in one_line(study_place, capsys, "study", "mine")


def test_short_attacks_are_refused_beside_real_weights(tmp_path, monkeypatch, capsys):
    from small_runs import write_weights

    monkeypatch.chdir(tmp_path)
    for run in ("run", "dress-rehearsal/run"):
        write_weights(tmp_path / run / "student.safetensors")
        assert "is no rehearsal of a study" in one_line(tmp_path, capsys, "evaluate", run, "--rehearse", "true")


def test_no_study_runs_where_a_rehearsal_deletes(study_place, fake, capsys):  # noqa: ARG001
    write_yaml(study_place / "mine-rehearsal.yaml", SMALL)
    write_yaml(study_place / "checkpoints/mine-rehearsal/rehearsal.txt", "mine")
    assert "is a rehearsal, which the next one deletes" in one_line(study_place, capsys, "study", "mine-rehearsal")


@pytest.mark.parametrize(
    ("words", "message"), [(["--devices", "0"], "expected at least 1"), (["--devices", "3"], "sees 2 GPUs")]
)
def test_no_more_gpus_than_there_are(words, message, study_place, fake, capsys, monkeypatch):  # noqa: ARG001
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    write_yaml(study_place / "mine.yaml", SMALL)
    assert message in cli(capsys, "study", "mine", *words)[2]
