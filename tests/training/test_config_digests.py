"""The stored runs keep their digests: one that changed would have every finished run of every study trained again."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonargparse import ArgumentParser
from parsed_configs import Parsed

from ard.objectives.base import Objective
from ard.training.config_digest import LATER, as_before, by_contents, config_digest

RESULTS = Path(__file__).parents[2] / "docs" / "results"
CONFIGS = sorted(RESULTS.rglob("config.yaml"))
STUDIES = sorted({path.relative_to(RESULTS).parts[0] for path in CONFIGS})
RECORDS = ("evaluation.json", "last.evaluation.json")


@cache  # nobody changes what it gives
def loaded(path: Path) -> dict[str, Any]:
    return yaml.load(path.read_text(), yaml.CSafeLoader)


def record(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


@cache
def teachers() -> dict[str, str]:
    """Where the teachers of the stored runs lay, and what they were: their records outlive the weights."""
    records = {path.parent.relative_to(RESULTS): record(path) for path in RESULTS.glob(f"*/teachers/*/{RECORDS[0]}")}
    return {f"checkpoints/{place}/student.safetensors": found["weights"]["sha256"] for place, found in records.items()}


def known_to(path: Path) -> dict[str, str]:
    """The teachers as a run's record names them: another one may lie by now where its own lay."""
    given = loaded(path)["model"]["init_args"].get("teacher") or {}
    weights, own = (given.get("init_args") or {}).get("weights"), record(path.parent / RECORDS[0]).get("teacher")
    return teachers() | ({weights: own} if weights and own else {})


def nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every mapping at every depth."""
    if isinstance(tree, dict):
        yield tree
    for branch in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from nodes(branch)


def class_paths(tree: Any) -> set[str]:
    return {node["class_path"] for node in nodes(tree) if "class_path" in node}


def setting(config: dict[str, Any]) -> str:
    """What tells a stored setting from another: neither the seed nor which weights its teachers had."""
    config = json.loads(json.dumps({**config, "seed_everything": 0}))
    for node in nodes(config["model"]):
        node.pop("weights", None)
    for node in nodes(config["trainer"]):
        node.pop("default_root_dir", None)
    return json.dumps(config, sort_keys=True)


@cache  # there are thousands of configs: no parameter of a test may ask, for every process of the suite collects those
def settings() -> list[Path]:
    """One config of each, the first by name."""
    return list({setting(loaded(path)): path for path in reversed(CONFIGS)}.values())[::-1]


@cache
def spread() -> list[Path]:
    """A few of them in which every class occurs that is not an objective."""
    seen: set[str] = set()
    chosen = []
    for path in settings():
        found = {name for name in class_paths(loaded(path)) if not name.startswith("ard.objectives.")}
        if found - seen:
            chosen.append(path)
            seen |= found
    return chosen


def objectives() -> dict[str, dict[str, Any]]:
    found = [loaded(path)["model"]["init_args"]["objective"] for path in CONFIGS]
    return {json.dumps(objective, sort_keys=True): objective for objective in found}


def changed(paths: list[Path]) -> list[str]:
    """The settings that would be trained again: by a new argument, another default, another class path?"""
    return [
        str(path.parent)
        for path in paths
        if config_digest(Parsed(["fit", "-c", str(path)]).resolved, known_to(path))
        != record(path.parent / RECORDS[0])["training"]["config_digest"]
    ]


def test_every_stored_config_has_the_digest_of_its_records():
    wrong = [
        str(path.parent / name)
        for path in CONFIGS
        for name in RECORDS
        if (path.parent / name).is_file()
        and record(path.parent / name)["training"]["config_digest"] != config_digest(loaded(path), known_to(path))
    ]
    assert wrong == []
    assert len(CONFIGS) >= 128


def test_the_spread_is_of_many_settings():
    assert len(settings()) >= 55
    assert {"ard.Distillation", "ard.FreeDistillation", "ard.data.Digits"} <= set().union(
        *(class_paths(loaded(path)) for path in spread())
    )


def test_the_stored_configs_of_the_spread_resolve_to_their_digests():
    assert changed(spread()) == []


def test_every_stored_objective_resolves_to_itself():
    """By a parser of objectives alone, in a tenth of the time that a whole config takes."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Objective, "objective")
    for objective in objectives().values():
        resolved = parser.parse_object({"objective": objective})
        found = yaml.safe_load(parser.dump(resolved, skip_unset=False))["objective"]
        assert by_contents({"init_args": {}, **found}, {}) == by_contents({"init_args": {}, **objective}, {})


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, pytest.param(None, marks=pytest.mark.campaign)])
@pytest.mark.parametrize("study", STUDIES)
def test_the_other_stored_configs_of_a_study_resolve_to_their_digests(study, count):
    """The settings outside the spread: the first of each study here, all of them as a campaign."""
    left = [path for path in settings() if path not in spread() and path.relative_to(RESULTS).parts[0] == study]
    assert changed(left[:count]) == []


def test_switches_of_augmentation_make_another_run_only_where_they_are_on():
    def digest(name, **arguments):
        data = {"class_path": f"ard.data.{name}", "init_args": {"batch_size": 8, **arguments}}
        return config_digest({"trainer": {"precision": None}, "model": {"init_args": {}}, "data": data})

    off = {"padding_mode": "zeros", "rotation": 0.0, "augmentation": "crop_flip", "cutmix": 0.0}
    on = {"padding_mode": "reflect", "rotation": 15.0, "augmentation": "idbh_weak", "cutmix": 1.0}
    for name in ("Digits", "CIFAR10", "CIFAR100", "ImageFolder", "Photos"):
        assert digest(name, **off) == digest(name)
        assert len({digest(name, **{key: value}) for key, value in on.items()} | {digest(name)}) == 5
    assert digest("Mixed", **dict.fromkeys(off)) == digest("Mixed")
    assert digest("Mixed", cutmix=0.0) != digest("Mixed")  # its base may say something else


@pytest.mark.parametrize(("network", "later", "other"), [("Timm", "img_size", 64), ("Torchvision", "pretrained", True)])
def test_an_argument_that_came_later_makes_no_other_run_where_it_does_what_was_done_before(network, later, other):
    def digest(**arguments):
        student = {"class_path": f"ard.models.{network}", "init_args": {"name": "resnet18", **arguments}}
        return config_digest(
            {"trainer": {"precision": None}, "model": {"init_args": {"student": student}}, "data": {"init_args": {}}}
        )

    before = digest()
    assert digest(**{later: None if network == "Timm" else False}) == before
    assert digest(**{later: other}) != before


def test_what_an_optimiser_leaves_off_makes_no_other_run():
    """Such as the switches that torch adds with time."""

    def block(**arguments):
        return as_before("training", {"optimizer": {"class_path": "torch.optim.AdamW", "init_args": arguments}})

    assert block(betas=[0.9, 0.99], amsgrad=False, fused=None) == block(betas=[0.9, 0.99])
    assert block(amsgrad=True) != block()
    later = {"optimizer": None, "least_momentum": None, "eps_ramp": None, "first_steps": None}
    assert as_before("training", {"lr": 0.1, **later}) == {"lr": 0.1}


def test_what_names_no_class_is_known_by_its_key(monkeypatch):
    monkeypatch.setitem(LATER, "training", {"clip": None})
    tree = {"class_path": "ard.Distillation", "init_args": {"training": {"lr": 0.1, "clip": None}, "other": {"clip": None}}}
    assert by_contents(tree, {})["init_args"] == {"training": {"lr": 0.1}, "other": {"clip": None}}
    assert as_before("training", {"clip": 1.0}) == {"clip": 1.0}
