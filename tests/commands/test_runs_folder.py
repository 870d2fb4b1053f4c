"""A run's folder stands for its selected student wherever weights are named."""

from pathlib import Path

import torch
from small_runs import narrow, trained, write_weights

from ard.artifacts.paths import weights_file
from ard.artifacts.weights import card_of
from ard.core.files import sha256
from ard.models import Frozen, load


def test_a_runs_folder_stands_for_the_student_that_was_selected(tmp_path, monkeypatch):
    weights = write_weights(tmp_path / "run" / "student.safetensors")
    write_weights(tmp_path / "run" / "last.safetensors", narrow())
    monkeypatch.chdir(tmp_path)
    for name in ("run", "run/", Path("run"), str(weights.parent), weights):
        assert torch.equal(load(name).state_dict()["head.weight"], trained().state_dict()["head.weight"])
        assert card_of(name).num_classes == 10
    teacher = Frozen(weights="run")
    assert (teacher.weights, teacher.sha256) == ("run/student.safetensors", sha256(weights))
    monkeypatch.chdir(weights.parent)
    assert weights_file(".") == "student.safetensors"
    assert weights_file("") == "" == Frozen().weights  # which is no folder, but no weights
