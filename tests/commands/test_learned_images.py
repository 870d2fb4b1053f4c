"""A network is not tested on photographs that it has learned, whatever became of their folder."""

import shutil
from pathlib import Path

import pytest
from image_files import image_folder
from small_runs import cli

from ard.artifacts.weights import card_of
from ard.core.content_digests import content_digest

FIT = ["fit", "photos", "pgd_at", "--epochs=1", "--trainer.accelerator=cpu", "--batch-size=8", "--data-dir=photos"]
SMALL = ["--model.student=ard.models.ResNet", "--model.student.width=2", "--model.student.blocks=[1,1]", "--data.size=8"]
OK = (0, 3, 4)


@pytest.fixture
def place(tmp_path, monkeypatch, capsys, one_parser):  # noqa: ARG001
    """A folder that holds photographs and a student that was trained on them."""
    image_folder(tmp_path / "made", per_class=16)
    (tmp_path / "made" / "train").rename(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    status, out, _ = cli(capsys, *FIT, *SMALL, "--out=run")
    assert (status, " test images\n            3 classes: cat, dog, owl\n" in out) == (0, True)
    return tmp_path


def learned(place):
    return set(card_of(place / "run" / "student.safetensors").learned)


def files(place):
    return sorted((place / "photos").glob("*/*"))


def test_the_card_has_digests_of_what_was_learned_and_a_teacher_of_the_same_is_taken(place, capsys):
    known = learned(place)
    assert 0 < len(known) < len(files(place))
    assert known < {content_digest(str(file)) for file in files(place)}
    for number, file in enumerate(files(place)):
        file.rename(file.with_name(f"renamed{number}.png"))
    shutil.copy(
        next(file for file in files(place) if content_digest(str(file)) in known), place / "photos" / "owl" / "copy.png"
    )
    teach = [*FIT, *SMALL, "--out=next", "--teacher=run"]
    assert cli(capsys, *(word.replace("pgd_at", "rslad") for word in teach))[0] == 0
    assert cli(capsys, "evaluate", "run")[0] in OK


def test_what_was_learned_is_no_test_image(place, capsys):
    known = learned(place)
    moved = next(file for file in files(place) if content_digest(str(file)) in known)
    for part in ("train", "test"):
        shutil.copytree(place / "photos", place / "parts" / part)
    for file in (place / "parts" / "test").glob("*/*"):
        if content_digest(str(file)) in known and file.name != moved.name:
            file.unlink()
    with pytest.warns(UserWarning, match="test images of parts are among its training images, too .*: delete one of each"):
        assert cli(capsys, "evaluate", "run", "--data-dir=parts")[0] in OK  # as some well-known data sets have them
    for file in (place / "parts" / "train").glob(f"*/{moved.name}"):
        file.unlink()
    status, _, err = cli(capsys, "evaluate", "run", "--data-dir=parts", "--replace")
    assert (status, err.count("\n")) == (2, 1)
    assert "student.safetensors has learned " in err
    assert "test images of parts (test/" in err
    assert cli(capsys, "evaluate", "run", "--data-dir=parts", "--allow-mismatch")[0] in OK
    assert cli(capsys, "evaluate", "run", "--split=val", "--replace")[0] in OK
    words = [word.replace("pgd_at", "rslad").replace("dir=photos", "dir=parts") for word in FIT]
    status, _, err = cli(capsys, *words, *SMALL, "--out=next", "--teacher=run")
    assert (status, "run/student.safetensors has learned " in err) == (2, True)


def test_a_run_is_not_resumed_on_other_photographs_unless_that_is_said(place, capsys):
    before = learned(place)
    again = [*(word.replace("epochs=1", "epochs=2") for word in FIT), *SMALL, "--model.training.schedule=multistep"]
    first = [word for word in again if word != "--epochs=2"] + ["--epochs=1", "--out=run"]
    shutil.rmtree(place / "run")
    assert cli(capsys, *first)[0] == 0
    gone = next(file for file in files(place) if content_digest(str(file)) in before)
    kept = gone.read_bytes()
    gone.unlink()
    status, _, err = cli(capsys, *again, "--out=run", "--resume")
    assert (status, len([line for line in err.splitlines() if "another run" in line])) == (2, 1)
    count = len(before)
    assert f"is of another run: images for training and validation: {count} -> {count - 1}; --allow_changes true" in err
    assert cli(capsys, *again, "--out=run", "--resume", "--allow-changes")[0] == 0
    assert learned(place) == before
    gone.write_bytes(kept)


@pytest.mark.parametrize("inside", [True, False])
def test_images_that_are_not_here_any_more_are_named_anew(place, capsys, inside, monkeypatch):
    """From a folder above, a relative one is looked for down to the weights."""
    if inside:
        monkeypatch.chdir(place.parent)
        status, _, err = cli(capsys, "evaluate", str(place / "run"))
        assert (status in OK, f"are taken from {place}/photos" in err) == (True, True)
        monkeypatch.chdir(place)
    Path("photos").rename("elsewhere")
    status, _, err = cli(capsys, "evaluate", "run", "--replace")
    assert (status, err.count("\n")) == (2, 1)
    assert "was trained on images in photos, no folder here: --data-dir DIR says where they are now" in err
    assert cli(capsys, "evaluate", "run", "--data-dir=elsewhere", "--replace")[0] in OK
