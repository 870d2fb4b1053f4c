"""Files of weights changed at random: they load as what they were, or are refused in one line; nothing in them runs."""

import io
import json
import shutil
from functools import cache

import pytest
import torch
from fuzzing import answered, damaged, mutated, read_or_refused, tried
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save
from small_runs import CARD, NETWORK, trained, write_weights

from ard.artifacts.weights import read_weights
from ard.models import load

pytestmark = pytest.mark.usefixtures("short_attacks")

draws = st.randoms(use_true_random=False)
SMALL = {key: CARD[key] for key in ("class_path", "init_args", "num_classes")}
NETWORKS = [
    SMALL,
    {
        "class_path": "ard.models.Normalized",
        "init_args": {"network": {"class_path": "ard.models.ResNet", "init_args": NETWORK}, "mean": [0.5], "std": [0.5]},
        "num_classes": 10,
    },
    {
        "class_path": "ard.models.MobileNetV2",
        "init_args": {"width": 0.5, "stages": [[1, 16, 1, 1], [2, 16, 1, 2]], "head": 16, "in_channels": 1},
        "num_classes": 10,
    },
    {"class_path": "ard.models.WideResNet", "init_args": {"depth": 10, "widen": 1}, "num_classes": 10},
]


@cache
def files():
    """Good files of every kind, by their suffix."""
    state = trained().state_dict()
    return {
        ".safetensors": save(state, {"model": json.dumps(CARD)}),
        ".ckpt": pickled({"state_dict": {f"student.{key}": value for key, value in state.items()}, "ard": CARD, "epoch": 1}),
        ".pt": pickled({"state_dict": state, "ard": CARD}, _use_new_zipfile_serialization=False),
    }


def pickled(content, **options):
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


@tried(300)
@given(draw=draws)
def test_damaged_files(tmp_path, draw):
    suffix, other = draw.choice(sorted(files())), draw.choice(sorted(files()))
    path = tmp_path / f"weights{draw.choice((suffix, suffix, suffix, other))}"
    path.write_bytes(damaged(files()[suffix], draw, files()[other]))
    found = read_or_refused(read_weights, path)
    network = read_or_refused(load, path)
    if network is not None:
        assert found is not None
        expected = trained().state_dict()
        assert {key: value.shape for key, value in network.state_dict().items()} == {
            key: value.shape for key, value in expected.items()
        }
    path.unlink()
    assert not list(tmp_path.iterdir())


@tried(150)
@given(draw=draws)
def test_odd_cards(tmp_path, draw):
    path = tmp_path / "student.safetensors"
    path.write_bytes(save(trained().state_dict(), {"model": json.dumps(mutated(draw.choice(NETWORKS), draw))}))
    network = read_or_refused(load, path)
    assert network is None or type(network).__module__.startswith("ard.models.")


@tried(12)
@given(draw=draws)
def test_evaluation_of_odd_cards(tmp_path, draw):
    path = tmp_path / "student.safetensors"
    card = mutated(CARD, draw)
    path.write_bytes(save(trained().state_dict(), {"model": json.dumps(card)}))
    try:
        answered(tmp_path, "evaluate", path, "--limit", 10)
    finally:
        for file in tmp_path.iterdir():
            shutil.rmtree(file) if file.is_dir() else file.unlink()


@pytest.mark.parametrize("start", [b"", b"\x80\x02", b"PK\x03\x04", b"\xff" * 7 + b"\x7f", b"\x00" * 8])
@tried(20)
@given(noise=st.binary(max_size=200))
def test_noise(tmp_path, start, noise):
    for suffix in files():
        path = tmp_path / f"noise{suffix}"
        path.write_bytes(start + noise)
        assert read_or_refused(load, path) is None


@tried(6)
@given(draw=draws)
def test_a_teacher_that_is_damaged(command, tmp_path, draw):
    path = tmp_path / "teacher.safetensors"
    write_weights(path)
    path.write_bytes(damaged(path.read_bytes(), draw, files()[".pt"])[: -draw.randint(1, 50)])
    words = command(tmp_path / "run", "ard", f"--model.init_args.teacher.init_args.weights={path}")
    status, *_ = answered(tmp_path, *words)
    assert status == 2
