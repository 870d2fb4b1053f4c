"""The card of weights names their classes and the size of their images: other data are refused, by every verb."""

import os
import shlex
import shutil

import pytest
import yaml
from image_files import image_folder
from small_runs import cli, narrow, one_line, write_weights

from ard.artifacts.card import Card, difference

pytestmark = pytest.mark.usefixtures("short_attacks")

CLASSES = ["cat", "dog", "owl"]
SECTION = {"class_path": "ard.data.ImageFolder", "init_args": {"root": "photos", "size": 8, "val_size": 3, "grey": True}}
SWAPPED = "class 1 is 'dog' in the weights and 'eel' in the data"
FIT = [
    "image_folder",
    "rslad",
    "--data.size=8",
    "--data.grey=true",
    "--data.val_size=3",
    "--data.batch_size=4",
    "--epochs=1",
]
STUDENT = "--model.student={class_path: ard.models.ResNet, init_args: {in_channels: 1, width: 4, blocks: [1]}}"


@pytest.fixture
def animals(place):
    """Weights for cats, dogs and owls; the same images with eels in place of dogs; a config of each."""
    image_folder(place / "photos", CLASSES)
    shutil.copytree(place / "photos", place / "eels")
    for split in ("train", "test"):
        os.rename(place / "eels" / split / "dog", place / "eels" / split / "eel")
    for root in ("photos", "eels"):
        data = {"data": {**SECTION, "init_args": {**SECTION["init_args"], "root": root}}}
        (place / f"{root}.yaml").write_text(yaml.safe_dump(data))
    about = {"num_classes": 3, "classes": CLASSES, "input_shape": [1, 8, 8], "data": SECTION, "training": None}
    write_weights(place / "run" / "student.safetensors", narrow(3).eval(), **about)
    write_weights(place / "other" / "student.safetensors", narrow(3).eval(), **{**about, "classes": ["cat", "owl", "dog"]})
    return place


def test_the_first_difference_is_named():
    card = Card(classes=("a", "b", "c"), input_shape=(3, 8, 8))
    assert difference(card, ["a", "b", "c"], (3, 8, 8)) == ""
    assert difference(card, ["a", "x", "y"], ()) == "class 1 is 'b' in the weights and 'x' in the data"
    assert difference(card, ["a", "c", "b"], ()).endswith("(the same names in another order)")
    assert difference(card, ["a", "b"], ()) == "class 2 is 'c' in the weights and None in the data"
    assert difference(card, [], (3, 9, 9)) == "images of (3, 8, 8) in the weights and (3, 9, 9) in the data"
    assert difference(Card(), ["a"], (3, 9, 9)) == ""


def test_evaluate_and_verify(animals, capsys):
    quick = ["run", "--data=eels.yaml", "--eps=0.01"]
    refused = one_line(animals, capsys, "evaluate", *quick)
    assert SWAPPED in refused
    assert "--allow-mismatch" in refused
    status, out, _ = cli(capsys, "evaluate", *quick, "--allow-mismatch", "--save-adversarial")
    stored = shlex.split(out.splitlines()[-1].removeprefix("next: ard "))
    assert (status in (0, 3, 4), stored[0], stored[-1]) == (True, "verify", "--allow-mismatch")
    assert SWAPPED in one_line(animals, capsys, *stored[:-1])
    assert cli(capsys, *stored)[0] == 0


@pytest.mark.parametrize("option", ["--undefended=other", "--teacher=other", "--transfer=other"])
def test_other_networks_of_an_evaluation(animals, capsys, option):
    suite = [] if "undefended" in option else ["--suite=full"]
    assert "other/student.safetensors: class 1 is 'owl'" in one_line(animals, capsys, "evaluate", "run", *suite, option)


def test_the_teacher_of_a_run(animals, capsys, one_parser):  # noqa: ARG001
    words = ["fit", *FIT, STUDENT, "--data-dir=eels", "--out=fresh", "--teacher=run", "--trainer.accelerator=cpu"]
    status, _, err = cli(capsys, *words)
    assert (status, SWAPPED in err, err.count("\n")) == (2, True, 1)
    assert not (animals / "fresh" / "last.ckpt").exists()
    status, _, _ = cli(capsys, *words, "--allow-mismatch")
    assert (status, (animals / "fresh" / "student.safetensors").is_file()) == (0, True)
    kept = [word for word in words if not word.startswith("--data-dir")]
    status, _, err = cli(capsys, *kept, "--data-dir=photos", "--resume", "--epochs=2", "--allow-changes")
    assert (status, "fresh/last.ckpt: class 1 is 'eel' in the weights and 'dog' in the data" in err) == (2, True)


def test_a_relative_folder_in_the_card_is_found_from_elsewhere(animals, capsys, monkeypatch):
    (animals / "elsewhere").mkdir()
    monkeypatch.chdir(animals / "elsewhere")
    status, _, err = cli(capsys, "evaluate", "../run")
    assert status in (0, 3, 4)
    assert err == f"ard: the images of ../run/student.safetensors are taken from {animals}/photos\n"
    image_folder(animals / "elsewhere" / "photos", CLASSES)
    assert "expected one of them" in one_line(animals, capsys, "evaluate", "../run", "--replace")
