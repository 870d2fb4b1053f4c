"""The digest of a resolved config: everything that a result depends on, and nothing else."""

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

from ard.artifacts.class_paths import TEACHERS_FROM_FILES
from ard.artifacts.paths import weights_file
from ard.core.files import sha256

# What a run may change without becoming another run: where it writes, what it displays, where the file of the teacher is.
PRESENTATION = (
    "default_root_dir",
    "logger",
    "enable_progress_bar",
    "enable_model_summary",
    "log_every_n_steps",
    "callbacks",
)


# How a run starts, not what it is.
START = ("config", "ckpt_path", "weights_only", "resume", "allow_changes", "allow_mismatch")

# Arguments that came later, with the value that does what was done before: by the name of their class of ard, by the package
# of ard whose classes all have them, or by the key of a part of the config that names no class.
LATER: dict[str, dict[str, Any]] = {
    "ABSLD": {"falls_first": False},
    "ARD": {"teacher_temperature": None},
    "ard.data": {"padding_mode": "zeros", "rotation": 0.0, "augmentation": "crop_flip", "cutmix": 0.0},
    "CIARD": {"freeze": 1.0},
    "CIFAR10": {"workers": 0},
    "CIFAR100": {"workers": 0},
    "DGAD": {"alpha": 1.0},
    "Digits": {"fold": None},
    "Distillation": {"clean_pass": None},
    "FreeDistillation": {"clamped": "image"},
    "GradAlign": {"saturated": 1.0},
    "KnownLabels": {"labelled": None, "unlabelled": "drop", "wrong": 0.0, "wrong_as": "any"},
    "MART": {"slack": 0.0},
    "Mixed": {"padding_mode": None, "rotation": None, "augmentation": None, "cutmix": None},
    "PGD": {"clamp_start": True},
    "Timm": {"img_size": None},
    "Torchvision": {"pretrained": False},
    "training": {"optimizer": None, "least_momentum": None, "eps_ramp": None, "first_steps": None},
    "UnstuckPGD": {"clamp_start": True},
    "weight_perturbation": {"restore": "before_step"},
}

RESUMED_WITH = "resumed_with"  # the changes that a run has been through: it is not one that had them from its start
GUARDS = "guards"  # change no run in which nothing goes wrong


def config_digest(config: dict[str, Any], known: Mapping[str, str] | None = None) -> str:
    """A digest of everything in a resolved config that the result depends on; teachers and start count by their contents.

    `known` has the digests of weights by their path, for those that are not there any more.
    """
    return digest_of(essentials(config, known))


def digest_of(essentials: dict[str, Any]) -> str:
    """Short, of a config that was reduced to its essentials."""
    return hashlib.sha256(json.dumps(essentials, sort_keys=True).encode()).hexdigest()[:16]


def essentials(config: dict[str, Any], known: Mapping[str, str] | None = None, *, look: bool = True) -> dict[str, Any]:
    """The part of a resolved config that the result depends on, as the first records called it.

    With look=False no file that it names is opened: for a config of somebody else.
    """
    config = json.loads(json.dumps({key: value for key, value in config.items() if key not in (*START, GUARDS)}))
    for key in PRESENTATION:
        config["trainer"].pop(key, None)
    if config["trainer"]["precision"] == "auto":
        config["trainer"]["precision"] = None  # as it was called when the first records were written
    if config["model"]["init_args"].get("weight_perturbation") is None:
        config["model"]["init_args"].pop("weight_perturbation", None)  # those records did not know it
    config["model"]["init_args"].pop("cuda_graph", None)  # the same numbers, sooner
    if start := config["model"]["init_args"].get("init"):
        config["model"]["init_args"]["init"] = _contents(start, known or {}, look=look) or weights_file(start)
    config["data"]["init_args"].pop("name", None)
    for part in ("model", "data"):
        config[part] = by_contents(config[part], known or {}, look=look)
    return config


def by_contents(tree: dict[str, Any], known: Mapping[str, str], *, look: bool = True) -> dict[str, Any]:
    """A config in which every teacher's path has given way to the SHA-256 of its weights, null where there are none."""
    tree = dict(tree)
    for key, value in tree.items():
        if isinstance(value, dict):
            tree[key] = by_contents(value if "class_path" in value else as_before(key, value), known, look=look)
        elif isinstance(value, list):
            tree[key] = [by_contents(part, known, look=look) if isinstance(part, dict) else part for part in value]
    path = str(tree.get("class_path", ""))
    if path.startswith("ard.") and "init_args" in tree:
        tree["init_args"] = as_before(path, tree["init_args"])
    if path.startswith(TEACHERS_FROM_FILES):
        tree["init_args"]["sha256"] = _contents(tree["init_args"].pop("weights", ""), known, look=look)
    return tree


def _contents(weights: str, known: Mapping[str, str], *, look: bool) -> str | None:
    """The SHA-256 of a file of weights, or of that in a run's folder; None where it is neither known nor there."""
    file = weights_file(weights)
    return known.get(weights) or known.get(file) or (sha256(file) if look and os.path.isfile(file) else None)


def as_before(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Without the arguments that came later and do what was done before; `name` is a class path, or the key of a part."""
    package, _, last = name.rpartition(".")
    later = LATER.get(package, {}) | LATER.get(last, {})
    kept = {key: value for key, value in arguments.items() if key not in later or later[key] != value}
    if name == "training" and isinstance(optimizer := kept.get("optimizer"), dict):
        kept["optimizer"] = _without_switches(optimizer)
    return kept


def _without_switches(optimizer: dict[str, Any]) -> dict[str, Any]:
    """Without the arguments that are off: torch adds such with time, and one that is off makes no other run."""
    arguments = optimizer.get("init_args") or {}
    said = {key: value for key, value in arguments.items() if value is not None and value is not False}
    return {**optimizer, "init_args": said}
