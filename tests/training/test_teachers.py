"""Ensembles of teachers, and teachers by their name in RobustBench."""

import sys
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml
from image_files import image_folder
from small_runs import cli, write_weights
from tiny import generator, user_error
from torch import nn

from ard.artifacts.card import Card, check_fold, check_unseen, check_validation
from ard.artifacts.weights import card_of, save_weights
from ard.cli.lightning import resolve_config
from ard.commands.trained_config import training_with_config
from ard.core.files import sha256
from ard.data import Digits, KnownLabels, Photos
from ard.models import Ensemble, Frozen, ResNet, RobustBench, load
from ard.training.config_digest import config_digest
from ard.training.starting_weights import start_from

FIT = ["fit", "-c", "configs/digits.yaml", "-c", "configs/methods/ard.yaml"]
SHAPE = {"num_classes": 10, "input_shape": (1, 8, 8)}


@pytest.fixture
def files(teacher_file, tmp_path):
    """Two teachers of different weights."""
    from conftest import random_teacher

    torch.manual_seed(5)
    second = random_teacher(tmp_path / "second.safetensors", 10)
    network = load(second)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.5)
    save_weights(second, network, card_of(second))
    return [teacher_file, second]


def test_an_ensemble_says_the_mean_of_its_members_probabilities(files):
    x = torch.rand(6, 1, 8, 8, generator=generator()).requires_grad_()
    ensemble = Ensemble(members=[Frozen(weights=str(file)) for file in files]).load(**SHAPE)
    expected = sum(load(file)(x).softmax(dim=1) for file in files) / 2
    torch.testing.assert_close(ensemble(x).softmax(dim=1), expected)
    torch.testing.assert_close(ensemble(x).exp().sum(dim=1), torch.ones(6))
    assert torch.autograd.grad(ensemble(x)[:, 0].sum(), x)[0].abs().max() > 0
    assert not list(ensemble.parameters())
    assert not ensemble.state_dict()
    assert len({ensemble.sha256, *map(sha256, files)}) == 3


def test_an_ensemble_trains_a_student(fit, tmp_path, files):
    members = [{"class_path": "ard.models.Frozen", "init_args": {"weights": str(file)}} for file in files]
    recipe = yaml.safe_load(Path("configs/methods/rslad.yaml").read_text())
    recipe["model"]["init_args"]["teacher"] = {"class_path": "ard.models.Ensemble", "init_args": {"members": members}}
    (tmp_path / "ensemble.yaml").write_text(yaml.safe_dump(recipe))
    engine = fit(tmp_path / "run", tmp_path / "ensemble").model
    assert isinstance(engine.teacher, Ensemble)
    config = resolve_config(["fit", "-c", "configs/digits.yaml", "-c", str(tmp_path / "ensemble.yaml")])
    before, card = config_digest(config), card_of(tmp_path / "run/student.safetensors")
    assert card.teachers == {f"teacher.init_args.members.{place}": sha256(file) for place, file in enumerate(files)}
    kept = training_with_config(tmp_path / "run/student.safetensors", card).config["model"]["init_args"]["teacher"]
    assert kept["init_args"]["members"][1]["init_args"]["sha256"] == sha256(files[1])
    assert str(tmp_path) not in yaml.safe_dump(engine.teacher.sha256)
    files[1].write_bytes(files[0].read_bytes())
    assert config_digest(config) != before


def test_one_member_is_no_ensemble():
    with user_error("members: 1 given; expected two teachers or more"):
        Ensemble(members=[Frozen(weights="a")])


@pytest.fixture
def package(monkeypatch):
    """A stand-in for robustbench, whose load_model is `package.load`."""
    utils = ModuleType("robustbench.utils")
    utils.load_model = lambda *args, **kwargs: utils.load(*args, **kwargs)
    monkeypatch.setitem(sys.modules, "robustbench", ModuleType("robustbench"))
    monkeypatch.setitem(sys.modules, "robustbench.utils", utils)
    return utils


def test_a_robustbench_model_is_a_teacher(package):
    asked = []

    def load_model(name, **where):
        asked.append((name, where))
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).train()

    package.load = load_model
    teacher = RobustBench(name="Chen2021LTD_WRN34_10", folder="zoo").load(**SHAPE)
    assert asked == [("Chen2021LTD_WRN34_10", {"model_dir": "zoo", "dataset": "cifar10", "threat_model": "Linf"})]
    assert teacher.weights == "zoo/cifar10/Linf/Chen2021LTD_WRN34_10.pt"
    assert not teacher._held[0].training
    assert not any(parameter.requires_grad for parameter in teacher._held[0].parameters())


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KeyError("x"), "lists no Linf model 'Nobody2020'"),
        (OSError("no network"), "zoo/cifar10/Linf/Nobody2020.pt: no network"),
    ],
)
def test_what_robustbench_cannot_give_is_one_line(package, error, told):
    def refuse(*_, **__):
        raise error

    package.load = refuse
    with user_error(told):
        RobustBench(name="Nobody2020", folder="zoo").load(**SHAPE)


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "robustbench", None)
    teacher = RobustBench(name="Chen2021LTD_WRN34_10")
    for asked in (teacher.check_there, partial(teacher.load, **SHAPE)):
        with user_error(r"needs the package `robustbench` \(.*\): pip install 'setuptools<82' git\+https"):
            asked()


def test_an_import_that_fails_without_a_word_is_one_line(package):
    def fail(_):
        raise ImportError

    del package.load_model
    package.__getattr__ = fail
    with user_error(r"needs the package `robustbench` \(ImportError\): pip install"):
        RobustBench(name="Chen2021LTD_WRN34_10").load(**SHAPE)


def test_both_stand_in_a_config():
    words = ["--model.init_args.teacher=ard.models.RobustBench", "--model.init_args.teacher.init_args.name=A"]
    assert resolve_config([*FIT, *words])["model"]["init_args"]["teacher"]["init_args"]["name"] == "A"


def test_a_teacher_of_another_fold_is_refused_as_it_may_know_the_test_images(fit, tmp_path, teacher_file):
    """A teacher of no fold, too: it has learned four fifths of what this fold is tested on."""
    network, card = load(teacher_file), card_of(teacher_file)
    known = tmp_path / "known.safetensors"
    save_weights(known, network, replace(card, data={"class_path": "ard.data.Digits", "init_args": {"val_size": 200}}))
    with user_error("was trained with fold = null.*fold = 1: expected weights of the same fold"):
        fit(tmp_path / "run", "rslad", "--data.fold=1", f"--model.teacher.weights={known}")
    fit(tmp_path / "run", "rslad", "--data.fold=1", f"--model.teacher.weights={known}", "--allow_mismatch=true")


PHOTOS = {"test_size": 0.15, "split_seed": 0}


@pytest.mark.parametrize(
    ("theirs", "told"),
    [
        (PHOTOS, ""),
        (PHOTOS | {"test_size": 0.05}, "was trained with test_size = 0.05.*test_size = 0.15: expected weights of the same"),
        (PHOTOS | {"split_seed": 1}, "was trained with split_seed = 1.*split_seed = 0"),
        ({"split_seed": 1}, ""),  # of another data set, whose split is its own
    ],
)
@pytest.mark.parametrize("around", [False, True])
def test_what_chooses_photographs_for_test_is_compared(theirs, told, around, tmp_path):
    image_folder(tmp_path / "made")
    data = Photos(root=str(tmp_path / "made" / "train"), size=16)
    data = KnownLabels(base=data) if around else data
    card = Card(data={"class_path": "ard.data.Photos", "init_args": theirs})
    with user_error(told) if told else nullcontext():
        check_fold(card, "teacher.safetensors", data)
    check_fold(card, "teacher.safetensors", Photos(root=str(tmp_path / "made"), size=16))  # test images in a folder


@pytest.mark.parametrize(
    ("theirs", "told"),
    [
        ({"val_size": 200, "split_seed": 0}, ""),
        ({}, ""),  # nobody knows
        (
            {"val_size": 100, "split_seed": 0},
            "was trained with val_size = 100.* learned what is for validation with val_size = 200",
        ),
        (
            {"val_size": 200, "split_seed": 1},
            "was trained with split_seed = 1.*split_seed = 0: expected weights of the same",
        ),
    ],
)
@pytest.mark.parametrize("around", [False, True])
def test_what_chooses_images_for_validation_is_compared(theirs, told, around, tmp_path):
    data = KnownLabels(base=Digits()) if around else Digits()
    card = Card(data={"class_path": "ard.data.Digits", "init_args": theirs})
    with user_error(told) if told else nullcontext():
        check_validation(card, "student.safetensors", data)
    image_folder(tmp_path)
    photos = Card(data={"class_path": "ard.data.Photos", "init_args": {"val_size": 0.15, "split_seed": 0}})
    check_validation(photos, "student.safetensors", Photos(root=str(tmp_path), size=16))


def test_weights_are_not_evaluated_on_validation_images_that_they_learned(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights = write_weights(tmp_path / "w.safetensors")
    Path("other.yaml").write_text("data: {class_path: ard.data.Digits, init_args: {val_size: 100}}")
    words = ["evaluate", weights, "--split=val", "--data=other.yaml"]
    status, _, err = cli(capsys, *words)
    assert (status, err.count("\n")) == (2, 1)
    assert "was trained with val_size = 200, and may have learned what is for validation with val_size = 100" in err


@pytest.mark.parametrize(
    ("base", "told"),
    [
        ({"fold": 2}, "was trained with fold = 2.*fold = null: expected weights of the same fold"),
        ({"val_size": 100}, "was trained with val_size = 100.* for validation with val_size = 200: expected weights"),
    ],
)
def test_weights_that_know_images_for_test_or_validation_are_no_start_either(base, told, fit, tmp_path, teacher_file):
    network, card = load(teacher_file), card_of(teacher_file)
    start = tmp_path / "start.safetensors"
    data = {
        "class_path": "ard.data.KnownLabels",
        "init_args": {"base": {"class_path": "ard.data.Digits", "init_args": base}},
    }
    save_weights(start, network, replace(card, data=data))
    options = [f"--model.init={start}", "--model.student=ard.models.ResNet"]
    with user_error(told):
        fit(
            tmp_path / "run",
            "pgd_at",
            *options,
            *(f"--model.student.{key}={value}" for key, value in card.init_args.items()),
        )


@pytest.mark.fault(13, 22)
def test_of_a_teacher_a_checkpoint_holds_the_digest_alone(fit, tmp_path, teacher_file, observed):
    student = fit(tmp_path, "ard").model.student
    content = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert content["ard"]["teacher"] == sha256(teacher_file)
    assert content["state_dict"].keys() == {f"student.{name}" for name in student.state_dict()}
    observed("a teacher in safetensors trains; its student's checkpoint holds the teacher's SHA-256 and only own tensors")


def test_weights_that_have_learned_test_images_are_told(tmp_path):
    data = Photos(root=str(image_folder(tmp_path / "made") / "train"), size=16)
    seen = data.image_files.digests.of(data.image_files.test[:1])
    about = {"class_path": "ard.data.Photos", "init_args": PHOTOS}
    knows = Card(data=about, learned=tuple(seen))
    check_unseen(
        Card(data=about, learned=tuple(data.image_files.learned)), "student.safetensors", data, allow_mismatch=False
    )
    check_unseen(knows, "student.safetensors", data, allow_mismatch=True)
    for around in (data, KnownLabels(base=data)):
        with user_error(
            r"student.safetensors has learned 1 of the . test images of train \(cat/.*png\): expected images it"
        ):
            check_unseen(knows, "student.safetensors", around, allow_mismatch=False)
    check_unseen(knows, "student.safetensors", Digits(), allow_mismatch=False)
    with pytest.warns(UserWarning, match="does not say which photographs it has learned"):
        check_unseen(Card(data=about), "student.safetensors", data, allow_mismatch=False)
    check_unseen(Card(), "teacher.pt", data, allow_mismatch=False)


@pytest.mark.parametrize("learned", [None, ("aa",), ()])
def test_what_begins_with_weights_that_do_not_say_what_they_learned_does_not_know_it_either(tmp_path, learned):
    network = {"class_path": "ard.models.ResNet", "init_args": {"width": 4, "blocks": [1]}}
    student = ResNet(num_classes=3, width=4, blocks=[1])
    card = Card(**network, num_classes=3, data={"class_path": "ard.data.Photos", "init_args": PHOTOS}, learned=learned)
    save_weights(tmp_path / "old.safetensors", student.state_dict(), card)
    assert start_from(tmp_path / "old.safetensors", student)[2] == (None if learned is None else set(learned))
