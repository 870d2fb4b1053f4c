"""What the doctor says of teachers: nothing of a healthy one, and what is wrong with others."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from known_digits import knowing, swapped
from small_records import dataset, full_record
from small_runs import CARD, DATA, NETWORK, narrow, sha256, write_weights

from ard.artifacts.card import Card
from ard.artifacts.record_file import write_record
from ard.artifacts.record_parts import WeightsFile
from ard.artifacts.weights import save_weights
from ard.attacks import Linf
from ard.data import Digits
from ard.doctor import teacher_checks as doctor
from ard.doctor.normalisation import better_ways
from ard.models import Frozen, Normalized

IMAGENET, CIFAR = ([0.449], [0.226]), ([0.473], [0.251])
DIGITS = [str(digit) for digit in range(10)]


def findings(path, *, eps=0.05, monitor="val/robust_acc", classes=None, network=None):
    data = Digits()
    if classes:
        data.classes = classes
    parts = {"teacher": Frozen(weights=str(path), network=network)}
    engine = SimpleNamespace(
        teachers=lambda: parts, threat=Linf(eps=eps), training_block=SimpleNamespace(monitor=monitor), num_classes=10
    )
    run = SimpleNamespace(data=data, engine=engine, section=DATA, device=torch.device("cpu"))
    return {finding.about.removeprefix("teacher: "): finding for finding in doctor.check_teacher(run)}


def normalized(mean, std, network, init_args):
    """A network behind a normalisation, and how its card describes it."""
    outer = Normalized(network=lambda num_classes: network, mean=mean, std=std, num_classes=10)  # noqa: ARG005
    return outer.eval(), {"network": init_args, "mean": mean, "std": std}


def undone(mean, std):
    """What takes back a normalisation."""
    return [-m / s for m, s in zip(mean, std, strict=True)], [1 / s for s in std]


PLAIN = {"class_path": "ard.models.ResNet", "init_args": NETWORK}


def wrongly(which):
    """A good network whose images are normalised in a way that it was not trained with."""
    if which == "ImageNet's":
        return normalized(*IMAGENET, knowing(), PLAIN)
    inner, init_args = normalized(*undone(*CIFAR), knowing(), PLAIN)  # it expects normalised images
    if which == "none":
        return inner, init_args
    described = {"class_path": "ard.models.Normalized", "init_args": init_args}
    once, told = normalized(*CIFAR, inner, described)
    return normalized(*CIFAR, once, {"class_path": "ard.models.Normalized", "init_args": told})


def record(path, clean_acc, **changes):
    weights = WeightsFile(path=path.name, sha256=sha256(path))
    content = full_record(**({"weights": weights, "dataset": dataset(), "clean_acc": clean_acc} | changes))
    write_record(path.with_name("evaluation.json"), content)


def test_nothing_is_wrong_with_a_good_one(tmp_path):
    path = write_weights(tmp_path / "student.safetensors", knowing(), classes=DIGITS)
    found = findings(path)
    assert {about: finding.verdict for about, finding in found.items()} == dict.fromkeys(found, "ok")
    assert list(found) == ["clean", "PGD-10", "classes", "data"]
    record(path, float(found["clean"].message.split()[0]) / 100)
    clean = findings(path)["clean"]
    assert (clean.verdict, "(declared: " in clean.message) == ("ok", True)


@pytest.mark.fault(19)
@pytest.mark.parametrize("declared", [True, False], ids=["declared", "not declared"])
@pytest.mark.parametrize("which", ["none", "double", "ImageNet's"])
def test_another_normalisation(tmp_path, which, declared, monkeypatch, observed):
    network, init_args = wrongly(which)
    path = tmp_path / "student.safetensors"
    save_weights(path, network, Card(class_path="ard.models.Normalized", init_args=init_args, num_classes=10))
    if declared:
        record(path, 0.97)
        monkeypatch.setattr(doctor, "better_ways", lambda *_: "")  # what was declared is enough
    found = findings(path)["clean"]
    assert found.verdict == "error"
    assert "normalisation" in found.message
    observed(f"{which}: error: {found.message}")


@pytest.mark.fault(18)
@pytest.mark.parametrize(
    "order", [[*range(1, 10), 0], [1, 0, *range(2, 10)]], ids=["all in another order", "two of them swapped"]
)
def test_permuted_classes(tmp_path, order, observed):
    found = findings(write_weights(tmp_path / "student.safetensors", swapped(order)))["clean"]
    assert found.verdict == "error"
    assert "another order of classes" in found.message
    observed(f"error: {found.message}")


@pytest.mark.fault(18)
def test_less_than_declared(tmp_path, monkeypatch, observed):
    """Two classes of ten that are swapped leave it far above chance."""
    monkeypatch.setattr(doctor, "better_ways", lambda *_: "")
    path = write_weights(tmp_path / "student.safetensors", swapped([1, 0, *range(2, 10)]))
    assert findings(path)["clean"].verdict == "ok"
    record(path, 0.97)
    found = findings(path)["clean"]
    assert (found.verdict, "(declared: 97.0 %)" in found.message) == ("error", True)
    observed(f"two swapped, and a record that tells its accuracy: error: {found.message}")


@pytest.mark.fault(18)
def test_classes_whose_names_are_permuted(tmp_path, observed):
    path = write_weights(tmp_path / "student.safetensors", knowing(), classes=[*DIGITS[1:], "0"])
    found = findings(path)["classes"]
    assert found.verdict == "error"
    assert found.message.startswith("class 0 is '1' in the weights and '0' in the data (the same names in another order); ")
    observed(f"by name: error: {found.message}")
    other = findings(write_weights(tmp_path / "other.safetensors", knowing(), classes=["zero", *DIGITS[1:]]))["classes"]
    assert other.verdict == "error"


@pytest.mark.fault(18)
def test_one_that_knows_nothing(tmp_path, observed):
    found = findings(write_weights(tmp_path / "student.safetensors", narrow().eval()))["clean"]
    assert (found.verdict, "not above chance" in found.message) == ("error", True)
    observed(f"untrained: error: {found.message}")


def test_more_than_declared_is_suspicious_and_less_is_wrong(tmp_path):
    path = write_weights(tmp_path / "student.safetensors", knowing())
    record(path, 0.6)
    assert (findings(path)["clean"].verdict, "trained on these" in findings(path)["clean"].message) == ("warning", True)
    record(path, 1.0, dataset=dataset("other images"))
    assert "declared" not in findings(path)["clean"].message
    record(path, 1.0, weights=WeightsFile(path="", sha256="of others"))
    assert "declared" not in findings(path)["clean"].message


@pytest.mark.fault(20)
def test_one_that_is_not_robust(tmp_path, observed):
    path = write_weights(tmp_path / "student.safetensors", knowing())
    weak = findings(path, eps=0.3)["PGD-10"]
    assert (weak.verdict, "low for a teacher" in weak.message) == ("warning", True)
    observed(f"warning: {weak.message}")
    assert findings(path, eps=0.3, monitor="val/clean_acc")["PGD-10"].verdict == "ok"


@pytest.mark.fault(32)
@pytest.mark.parametrize(
    "section", [None, DATA | {"init_args": {**DATA["init_args"], "split_seed": 1}}, {"class_path": "ard.data.CIFAR10"}]
)
def test_one_that_may_have_seen_the_validation_images(tmp_path, section, observed):
    found = findings(write_weights(tmp_path / "student.safetensors", knowing(), data=section))["data"]
    assert (found.verdict, "ranking only" in found.message) == ("warning", True)
    observed(f"warning: {found.message}")


def test_a_larger_teacher_is_asked_as_long_as_there_is_time(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "TEACHER_SECONDS", 0.0)
    found = findings(write_weights(tmp_path / "student.safetensors", knowing()))
    assert f"of {doctor.AT_A_TIME} validation images" in found["clean"].message


@pytest.mark.fault(18)
def test_training_says_when_its_teacher_knows_nothing(fit, tmp_path, teacher_file, observed):
    with pytest.warns(UserWarning, match=f"teacher {teacher_file} is right on .* not above chance") as caught:
        fit(tmp_path / "random", "kd")
    (text,) = (str(warning.message) for warning in caught if "not above chance" in str(warning.message))
    observed(f"training warns: {text.replace(str(Path(teacher_file).parent), '…')}")
    good = write_weights(tmp_path / "student.safetensors", knowing())
    with pytest.warns() as caught:
        fit(tmp_path / "good", "kd", f"--model.init_args.teacher.init_args.weights={good}")
    assert not [warning for warning in caught if "chance" in str(warning.message)]


@pytest.mark.parametrize(("network", "verdict"), [(narrow, "error"), (knowing, "warning")])
def test_one_whose_training_had_no_epoch_above_chance(tmp_path, network, verdict):
    """The cause comes before guesses at another normalisation or order of classes."""
    card = {**CARD["training"], "selected_by": "none"}
    found = findings(write_weights(tmp_path / "student.safetensors", network(), training=card))["clean"]
    assert found.verdict == verdict
    assert "no epoch of its training was above chance (its card: selected_by none)" in found.message
    assert "normalisation" not in found.message


def test_of_two_ways_the_better_one_is_named():
    """For a teacher that is far off some order fits better, here 50 % for 40; a normalisation makes 100 of it."""
    y = torch.arange(10).repeat(10)
    wrong = torch.where(torch.arange(100) < 40, y, (y + 1) % 10)
    wrong[40:50] = (y[40:50] + torch.tensor([1, -1] * 5)) % 10
    logits, right = (torch.nn.functional.one_hot(classes, 10).float() for classes in (wrong, y))
    x = torch.zeros(100, 1, 1, 1)
    assert better_ways(lambda asked: right if asked.min() < 0 else logits, x, logits, y).startswith("100 % with ")
    swapped = torch.nn.functional.one_hot((y + 1) % 10, 10).float()
    assert "another order of classes" in better_ways(lambda _: swapped, x, swapped, y)
