"""ard.artifacts.shown: what is written is read back, inside the ball; what is damaged or foreign is one line."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from tiny import user_error

from ard.artifacts.shown import Shown, read_shown, write_shown

K, CLASSES, SHAPE = 5, 3, (3, 8, 8)
NORMS = {
    "Linf": lambda moved: np.abs(moved).max(axis=(1, 2, 3)),
    "L2": lambda moved: np.sqrt((moved.astype(np.float64) ** 2).sum(axis=(1, 2, 3))),
}


@pytest.fixture
def shown():
    draw = np.random.default_rng(0)
    probabilities = draw.dirichlet(np.ones(CLASSES), (2, K)).astype(np.float32)
    moved = draw.uniform(-8 / 255, 8 / 255, (K, *SHAPE)).astype(np.float32)
    moved[3] = 0  # an image that no attack moved
    return Shown(
        confusion_clean=np.array([[40, 2, 1], [0, 300, 0], [0, 0, 70000]]),
        confusion_attacked=np.array([[20, 20, 3], [100, 200, 0], [0, 1, 69999]]),
        index=np.array([1, 4, 9, 16, 25]),
        y=np.array([0, 1, 2, 0, 1]),
        clean=draw.integers(0, 256, (K, *SHAPE), dtype=np.uint8),
        perturbation=moved,
        clean_probabilities=probabilities[0],
        attacked_probabilities=probabilities[1],
        weights="ab" * 32,
        dataset="0123456789abcdef",
    )


def test_what_is_written_is_read_back(tmp_path, shown):
    write_shown(tmp_path / "a", shown)
    again = read_shown(tmp_path / "a")
    for name in ("confusion_clean", "confusion_attacked", "index", "y", "clean"):
        assert np.array_equal(getattr(again, name), getattr(shown, name)), name
    for name in ("clean_probabilities", "attacked_probabilities"):
        assert np.array_equal(getattr(again, name), getattr(shown, name)), name
        assert getattr(again, name).dtype == np.float32
    assert (again.weights, again.dataset) == (shown.weights, shown.dataset)
    write_shown(tmp_path / "b", shown)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("norm", NORMS)
def test_a_perturbation_stays_in_the_ball_and_nearly_as_it_was(tmp_path, shown, norm):
    write_shown(tmp_path / "a", shown)
    read = read_shown(tmp_path / "a").perturbation
    assert read.dtype == np.float32
    assert (NORMS[norm](read) <= NORMS[norm](shown.perturbation) * (1 + 1e-6)).all()
    assert np.abs(read - shown.perturbation).max() <= np.abs(shown.perturbation).max() / 127
    assert not read[3].any()


def test_a_file_without_images_is_one(tmp_path, shown):
    """Of a network that was wrong before any attack, no image is chosen."""
    images = ("index", "y", "clean", "perturbation", "clean_probabilities", "attacked_probabilities")
    write_shown(tmp_path / "a", replace(shown, **{name: getattr(shown, name)[:0] for name in images}))
    assert read_shown(tmp_path / "a").perturbation.shape == (0, *SHAPE)


def test_24_photos_are_small(tmp_path, shown):
    photos = np.zeros((24, 3, 96, 96))
    places = np.arange(24)
    more = {"index": places, "y": places % CLASSES, "clean": photos, "perturbation": photos}
    answers = dict.fromkeys(("clean_probabilities", "attacked_probabilities"), np.zeros((24, CLASSES)))
    write_shown(tmp_path / "a", replace(shown, **more, **answers))
    assert (tmp_path / "a").stat().st_size < 2 * 24 * 3 * 96 * 96 + 4096


def one_brighter(tensors):
    tensors["clean"][0, 0, 0, 0] ^= 1


@pytest.mark.parametrize(
    ("change", "about", "words"),
    [
        (one_brighter, {}, "it is not what was written"),
        (None, {"weights": "cd" * 32}, "it is not what was written"),
        (None, {"dataset": "cd" * 8}, "it is not what was written"),
        (None, {"key": "another"}, "it is not what was written"),
        (lambda tensors: tensors.pop("steps"), {}, "it has no steps"),
        (None, {"digest": None}, "it has no digest"),
    ],
    ids=["pixel", "weights", "dataset", "key", "part", "digest"],
)
def test_a_change_is_one_line(tmp_path, shown, change, about, words):
    path = tmp_path / "evaluation.shown.safetensors"
    write_shown(path, replace(shown, key="this"))
    tensors = load_file(path)
    with safe_open(path, "np") as content:
        said = json.loads(content.metadata()["shown"]) | about
    if change:
        change(tensors)
    save_file(tensors, path, {"shown": json.dumps({name: text for name, text in said.items() if text is not None})})
    with user_error(words):
        read_shown(path)


@pytest.mark.parametrize(
    "odd",
    [
        {"y": np.array([0, 1, 2, 0, 3])},
        {"y": np.array([0, 1, 2, 0, -1])},
        {"index": np.arange(4)},
        {"confusion_attacked": np.zeros((4, 4), int)},
        {"clean_probabilities": np.zeros((K, 4), np.float32)},
        {"attacked_probabilities": np.full((K, CLASSES), np.nan)},
    ],
    ids=lambda odd: next(iter(odd)),
)
def test_parts_that_do_not_belong_together_are_refused(tmp_path, shown, odd):
    write_shown(tmp_path / "a", replace(shown, **odd))
    with user_error("NaN is no number" if "attacked_probabilities" in odd else "its parts do not belong together"):
        read_shown(tmp_path / "a")


def test_what_is_no_such_file_is_one_line(tmp_path):
    (tmp_path / "text").write_text("no tensors")
    save_file({"x": np.zeros(3)}, tmp_path / "weights.safetensors")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2**26 + 1)
    for name, words in (
        ("none", "no such file"),
        (".", "is a folder"),
        ("text", "has nothing to show"),
        ("weights.safetensors", "it has no "),
        ("large", "at most 67108864 bytes"),
    ):
        with user_error(words) as caught:
            read_shown(tmp_path / name)
        assert "ard evaluate" in str(caught.value)


def test_it_is_read_without_torch():
    code = "import sys, ard.artifacts.shown; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
