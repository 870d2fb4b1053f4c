"""Files that hold no weights, or not plain ones: one line that says so."""

from pathlib import Path

import pytest
import torch
from test_weights_hostile import NETWORK
from tiny import user_error

from ard.models import load


@pytest.mark.parametrize(
    "content",
    [torch.ones(3), [1, 2], {"state_dict": torch.ones(3)}, {"model": "resnet18"}, {0: torch.ones(3, 3)}, {}],
    ids=["tensor", "list", "tensor for a state", "name for a state", "numbers for names", "nothing"],
)
def test_plain_files_that_hold_no_state_dict(content, tmp_path):
    torch.save(content, tmp_path / "w.pt")
    with user_error(r"w\.pt"):
        load(tmp_path / "w.pt", NETWORK)


@pytest.mark.parametrize("name", ["absent.safetensors", "absent.pt"])
def test_a_missing_file_is_named(name, tmp_path):
    with user_error("no such file; expected weights"):
        load(Path(tmp_path) / name)


def test_a_folder_is_said_to_be_one_and_the_weights_in_it_are_named(tmp_path):
    with user_error("is a folder; expected weights .*: it holds none"):
        load(tmp_path)
    run = tmp_path / "ard" / "seed0"
    run.mkdir(parents=True)
    beside = (f"last.evaluation.{kind}.safetensors" for kind in ("adversarial", "shown"))
    for name in ("last.safetensors", "last.ckpt", "config.yaml", *beside):
        (run / name).touch()
    with user_error("seed0 is a folder; expected weights .*: it holds last.ckpt, last.safetensors: name one of these$"):
        load(run)
    with user_error("it holds ard/seed0/last.ckpt, ard/seed0/last.safetensors: name one of these$"):
        load(tmp_path)


ODD_TENSORS = {
    "elsewhere": lambda w: torch.empty_like(w, device="meta"),
    "sparse": torch.Tensor.to_sparse,
    "complex": lambda w: w.to(torch.complex64),
    "whole": torch.Tensor.long,
}


@pytest.mark.parametrize("kind", ODD_TENSORS)
def test_tensors_that_would_mean_something_else_are_refused(kind, tmp_path):
    state = NETWORK(num_classes=3).state_dict()
    torch.save({**state, "head.weight": ODD_TENSORS[kind](state["head.weight"])}, tmp_path / "w.pt")
    with user_error(r"head\.weight holds no plain numbers of torch\.float32"):
        load(tmp_path / "w.pt", NETWORK)


def test_half_precision_weights_are_read(tmp_path):
    state = NETWORK(num_classes=3).state_dict()
    torch.save(
        {key: value.half() if value.is_floating_point() else value for key, value in state.items()}, tmp_path / "w.pt"
    )
    assert torch.equal(load(tmp_path / "w.pt", NETWORK).head.weight, state["head.weight"].half().float())
