"""`ard predict`: what a network sees in image files, read as those of training were."""

import re

import numpy as np
import pytest
import torch
from image_files import image_folder
from PIL import Image
from small_runs import cli, narrow, write_weights

from ard.data.image_folder import decode
from ard.models import load


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Photographs in folders, larger than what the network sees, and weights of a network for three classes."""
    image_folder(tmp_path / "made", side=20)
    (tmp_path / "made" / "train").rename(tmp_path / "photos")
    (tmp_path / "photos" / "cat" / "Thumbs.db").write_bytes(b"x")
    write_weights(
        tmp_path / "run" / "student.safetensors",
        narrow(3),
        num_classes=3,
        classes=["cat", "dog", "owl"],
        input_shape=[1, 8, 8],
    )
    (tmp_path / "run" / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_each_image_has_its_classes_and_their_probabilities(place, capsys):
    status, out, err = cli(capsys, "predict", "run", "photos/dog", "photos/cat/3.png")
    lines = out.splitlines()
    assert (status, err, len(lines)) == (0, "", 9)
    assert lines[-1].startswith("photos/cat/3.png: ")
    network = load(place / "run" / "student.safetensors")
    for line in lines:
        path, told = line.split(": ")
        shares = network(decode(path, (1, 8, 8))[None].float() / 255).softmax(1)[0].tolist()
        found = {name: float(share) for name, share in re.findall(r"(\w+) ([\d.]+) %", told)}
        assert found == pytest.approx(dict(zip(("cat", "dog", "owl"), [100 * s for s in shares], strict=True)), abs=0.06)
        assert list(found.values()) == sorted(found.values(), reverse=True)


@pytest.mark.usefixtures("place")
def test_a_photograph_is_upright_and_square_as_in_training(capsys):
    pixels = torch.arange(0, 256, 2, dtype=torch.uint8).view(8, 16)
    upright = Image.fromarray(pixels.numpy())
    upright.save("a.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save("b.png", exif=exif)
    first, second = cli(capsys, "predict", "run", "a.png", "b.png")[1].splitlines()
    assert first.split(": ")[1] == second.split(": ")[1]


def test_height_and_width_are_not_taken_for_each_other(tmp_path):
    """Of a network for images of 4×8, an image that is 4 wide and 8 high, half black."""
    tall = np.zeros((8, 4), np.uint8)
    tall[:, 2:] = 255
    Image.fromarray(tall).save(tmp_path / "tall.png")
    halves = decode(str(tmp_path / "tall.png"), (1, 4, 8))[0]
    assert halves.shape == (4, 8)
    assert (halves[:, :3] == 0).all()
    assert (halves[:, -3:] == 255).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run"], "expected ard predict WEIGHTS IMAGES..."),
        (["run", "nope.png"], "nope.png: no such file; expected an image, or a folder of them"),
        (["nope", "photos"], "nope: no such file"),
        (["run", "photos/owl", "run/empty"], "run/empty holds no images; expected files, or folders of them"),
        (["run", "photos", "--top", "0"], "--top 0: expected 1 or more"),
        (
            ["run", "photos/cat/Thumbs.db", "run/student.safetensors"],
            "2 of 2 files cannot be read as images: photos/cat/Thumbs",
        ),
        (["run", "photos", "--tpo", "1"], "did you mean 'top'"),
    ],
)
@pytest.mark.usefixtures("place")
def test_mistakes_are_one_line(words, message, capsys):
    status, out, err = cli(capsys, "predict", *words)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err


def weights_for(place, network=None, classes=("cat", "dog", "owl"), shape=(1, 8, 8)):
    card = {"num_classes": 3, "classes": list(classes), "input_shape": list(shape)}
    write_weights(place / "other" / "student.safetensors", network or narrow(3), **card)
    return "other"


def test_answers_that_are_no_numbers_are_refused(place, capsys):
    network = narrow(3)
    torch.nn.init.constant_(network.head.weight, torch.nan)
    status, out, err = cli(capsys, "predict", weights_for(place, network), "photos/cat/3.png")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "photos/cat/3.png: other/student.safetensors answers with numbers that are not finite" in err


@pytest.mark.parametrize("shape", [(3, 200_000, 200_000), (3, 2**40, 2**40), (1, 0, 8)])
def test_images_that_are_too_large_or_empty_are_refused_before_memory_is_taken(shape, place, capsys):
    status, out, err = cli(capsys, "predict", weights_for(place, shape=shape), "photos/cat/3.png")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert f"other/student.safetensors: images = {shape[1]} × {shape[2]} pixels: expected at least 1 a side, and at" in err


def test_names_of_files_and_classes_begin_no_line(place, capsys):
    name = "odd\nforged.png: cat 100.0 %"
    (place / "photos" / "cat" / "3.png").rename(place / "photos" / f"{name}.png")
    weights = weights_for(place, classes=("cat\nforged.png: dog 100.0 %", "d\x1b[2Jog", "=1+1"))
    status, out, _ = cli(capsys, "predict", weights, f"photos/{name}.png")
    assert (status, out.count("\n"), out.startswith(r"photos/odd\nforged.png: cat 100.0 %.png: ")) == (0, 1, True)
    assert r"cat\nforged.png: dog 100.0 %" in out


@pytest.mark.usefixtures("place")
def test_weights_that_say_nothing_of_images_are_refused(capsys):
    torch.save(narrow(3).state_dict(), "plain.pt")
    status, _, err = cli(capsys, "predict", "plain.pt", "photos")
    assert (status, "does not say what images it is for" in err) == (2, True)
