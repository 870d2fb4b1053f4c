"""The config beside weights: part of what is known of a run where it is the one that was trained, whoever taught it."""

from dataclasses import replace

import pytest
from parsed_configs import Parsed
from small_records import TRAINING
from small_runs import write_yaml

from ard.artifacts.card import Card
from ard.commands.trained_config import training_with_config
from ard.core.files import sha256
from ard.training.config_digest import config_digest

TEACHERS = {
    "Frozen": {"weights": "teacher.safetensors"},
    "RobustBench": {"name": "Zhang2019Theoretically", "dataset": "cifar10"},
}


@pytest.mark.parametrize("name", TEACHERS)
def test_the_config_is_known_and_no_other_is(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights = tmp_path / "teacher.safetensors"
    weights.write_bytes(b"of a teacher")
    options = [f"--model.init_args.teacher.init_args.{key}={value}" for key, value in TEACHERS[name].items()]
    options = [f"--model.init_args.teacher=ard.models.{name}", *options]
    config = Parsed(["fit", "-c", "configs/cifar10.yaml", "-c", "configs/methods/rslad.yaml", *options]).resolved
    write_yaml(tmp_path / "config.yaml", config)
    card = Card(teacher=sha256(weights), training=replace(TRAINING, config_digest=config_digest(config)))
    weights.unlink()  # the card has its hash
    found = training_with_config(tmp_path / "student.safetensors", card).config
    assert found is not None
    assert found["model"]["init_args"]["teacher"]["class_path"] == f"ard.models.{name}"
    write_yaml(tmp_path / "config.yaml", {**config, "seed_everything": 7})
    assert training_with_config(tmp_path / "student.safetensors", card).config is None
