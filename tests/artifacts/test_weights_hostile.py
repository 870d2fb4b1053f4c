"""Files that are broken, foreign or hostile: one line for the user, and nothing in them is imported or run."""

import json
import os
import random
import re
import sys
from functools import partial

import pytest
import torch
from safetensors.torch import save_file
from tiny import user_error

from ard.models import ResNet, load

SMALL = {"blocks": [1, 1], "width": 4, "in_channels": 1}
NETWORK = partial(ResNet, **SMALL)


@pytest.fixture
def carded(tmp_path):
    """Writes a file of fitting weights under any card."""

    def save(card):
        path = tmp_path / "student.safetensors"
        save_file(NETWORK(num_classes=3).state_dict(), path, {"model": json.dumps(card)})
        return path

    return save


@pytest.mark.parametrize(
    "class_path",
    [
        "os.system",
        "torch.nn.Linear",
        "ard.models.load",
        "ard.models.Frozen",
        "ard.models.Network",
        "ard.artifacts.weights.read_weights",
        "ard.models.nn.Linear",
        "ard.training.engine.Engine",
        "ard.modelsevil.ResNet",
        "ResNet",
        "",
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_a_card_builds_networks_of_ours_alone(class_path, nested, carded):
    card = {"class_path": class_path, "init_args": {}, "num_classes": 3}
    if nested:
        card = {"class_path": "ard.models.Normalized", "init_args": {"network": card, "mean": [0.5], "std": [0.5]}}
    with user_error("which is not a network of ard.models"):
        load(carded(card))


def test_a_name_in_a_card_is_never_imported(carded, tmp_path, monkeypatch):
    marker = tmp_path / "imported"
    (tmp_path / "evil_card.py").write_text(f"open({str(marker)!r}, 'w')\nclass Net: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    with user_error("evil_card.Net"):
        load(carded({"class_path": "evil_card.Net", "num_classes": 3}))
    assert not marker.exists()
    assert "evil_card" not in sys.modules


@pytest.mark.parametrize(
    "init_args",
    [{"widht": 4}, SMALL | {"width": "many"}, SMALL | {"blocks": 3}, SMALL | {"width": -4}, [4], "width"],
    ids=str,
)
def test_arguments_that_build_nothing_are_a_user_error(init_args, carded):
    with user_error("student.safetensors"):
        load(carded({"class_path": "ard.models.ResNet", "init_args": init_args, "num_classes": 3}))


NO_CARDS = [[1, 2], "resnet", 3, True, {"init_args": {}}, {"class_path": 3}, {"class_path": None}]


@pytest.mark.parametrize("card", NO_CARDS, ids=str)
@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_a_card_that_is_no_card_is_a_user_error(card, suffix, carded, tmp_path):
    path = carded(card)
    if suffix == "pt":
        path = tmp_path / "weights.pt"
        torch.save({"state_dict": NETWORK(num_classes=3).state_dict(), "ard": card}, path)
    with user_error(path.name):
        load(path)


@pytest.mark.parametrize("num_classes", ["three", -1, [3], 2.5])
def test_a_number_of_classes_that_is_none_is_a_user_error(num_classes, carded):
    with user_error("student.safetensors"):
        load(carded({"class_path": "ard.models.ResNet", "init_args": SMALL, "num_classes": num_classes}))


def test_reading_a_file_downloads_nothing(carded, monkeypatch):
    """A student that began from timm's own weights says so in its card; its file fills every tensor by itself."""
    timm, asked = pytest.importorskip("timm"), []

    def create_model(_, **given):
        asked.append(given["pretrained"])
        return NETWORK(num_classes=3)

    monkeypatch.setattr(timm, "create_model", create_model)
    load(carded({"class_path": "ard.models.Timm", "init_args": {"name": "resnet18", "pretrained": True}}))
    assert asked == [False]


@pytest.mark.fault(9, 11)
@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.ckpt"])
@pytest.mark.parametrize("content", ["truncated", "empty", "html", "noise"])
def test_broken_files(name, content, tmp_path, observed):
    path, state = tmp_path / name, NETWORK(num_classes=3).state_dict()
    if content == "truncated":
        save_file(state, path) if name.endswith("safetensors") else torch.save(state, path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        html = b"<!DOCTYPE html>\n<html><body>404: not found</body></html>\n"
        path.write_bytes({"empty": b"", "html": html, "noise": bytes(range(256)) * 8}[content])
    with user_error(name) as caught:
        load(path, NETWORK)
    assert f"{path.stat().st_size} bytes" in str(caught.value)
    if name != "w.ckpt":  # as w.pt
        observed(f"{content}: {re.sub('[0-9]+ bytes', 'N bytes', str(caught.value))}")


def test_noise_of_every_kind_is_a_user_error(tmp_path):
    draw, path = random.Random(0), tmp_path / "noise.pt"
    for _ in range(300):
        start = draw.choice([b"", b"\x80\x02", b"\x80\x02}", b"PK\x03\x04"])
        path.write_bytes(start + draw.randbytes(draw.randint(1, 40)))
        with user_error("noise.pt"):
            load(path, NETWORK)


class Bomb:
    """Calls a function when it is unpickled."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


@pytest.mark.fault(12)
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("hidden", [True, False])
@pytest.mark.parametrize("name", [r"(posix|nt)\.system", r"io\.open"])
def test_a_pickle_that_runs_something_is_refused_by_name(name, hidden, zipped, tmp_path, observed):
    marker, path = tmp_path / "ran", tmp_path / "w.pt"
    bomb = Bomb(os.system, f"touch {marker}") if "system" in name else Bomb(open, str(marker), "w")
    torch.save({"state_dict": {}, "x": bomb} if hidden else bomb, path, _use_new_zipfile_serialization=zipped)
    with user_error(rf"w\.pt: refused.*\b{name}\b") as caught:
        load(path, NETWORK)
    assert not marker.exists()
    assert "will likely succeed" not in str(caught.value)  # torch's own advice is to run it after all
    observed(re.sub("[0-9]+ bytes", "N bytes", str(caught.value)))


@pytest.mark.parametrize(
    "changes",
    [{"width": 20_000}, {"blocks": [10**9, 1]}, {"blocks": [1] * 10**6}, {"width": 10**30}, {"in_channels": 10**9}],
    ids=lambda changes: str(changes)[:40],
)
def test_a_card_cannot_ask_for_more_than_its_file_could_fill(changes, carded):
    with user_error("cannot be built|more than 1,000,000 values"):
        load(carded({"class_path": "ard.models.ResNet", "init_args": SMALL | changes, "num_classes": 3}))


@pytest.mark.parametrize("depth", [1, 300, 10_000])
def test_networks_inside_networks_end(depth, tmp_path):
    nested = '{"class_path": "ard.models.Normalized", "init_args": {"mean": [0], "std": [1], "network":'
    path = tmp_path / "w.safetensors"
    save_file(NETWORK(num_classes=3).state_dict(), path, {"model": nested * depth + "{}" + "}}" * depth})
    with user_error(r"w\.safetensors"):
        load(path)


def test_torch_says_nothing_beside_the_one_line(tmp_path, recwarn):
    (tmp_path / "w.pt").write_bytes(b"\x80\x79" + b"noise" * 20)
    with user_error(r"w\.pt: refused"):
        load(tmp_path / "w.pt", NETWORK)
    assert not recwarn.list
