"""A class named by its bare name is written into configs, digests and cards by one path: by the shortest that shows it.

One more name in a package's `__init__` would change these paths, and with them the digest of every run.
"""

import inspect
import pkgutil
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonargparse import ArgumentParser
from parsed_configs import Parsed
from torch import nn

import ard
from ard.attacks import Attack, AttackFactory, Ball
from ard.data import DataModule
from ard.models import Frozen, Network
from ard.objectives.base import Objective
from ard.training.engine import Engine

CONFIGS = Path(__file__).parents[2] / "configs"
PATHS = {
    Ball: ["ard.attacks.L2", "ard.attacks.Linf"],
    Attack: ["ard.attacks.FGSM", "ard.attacks.NFGSM", "ard.attacks.PGD", "ard.attacks.UnstuckPGD"],
    DataModule: [
        f"ard.data.{name}"
        for name in ("CIFAR10", "CIFAR100", "Digits", "ImageFolder", "KnownLabels", "Mixed", "Photos", "RandomImages")
    ],
    Frozen: ["ard.models.Cached", "ard.models.Ensemble", "ard.models.Frozen", "ard.models.RobustBench"],
    nn.Module: [
        "ard.models.MobileNetV2",
        "ard.models.Narrowed",
        "ard.models.Normalized",
        "ard.models.ResNet",
        "ard.models.Timm",
        "ard.models.Torchvision",
        "ard.models.WideResNet",
    ],
    Objective: [
        "ard.objectives.absld.ABSLD",
        "ard.objectives.adaad.AdaAD",
        "ard.objectives.adr.ADR",
        "ard.objectives.akd.AKD",
        "ard.objectives.akd.AKD2",
        "ard.objectives.ard.ARD",
        "ard.objectives.cgard.CGARD",
        "ard.objectives.dgad.DGAD",
        "ard.objectives.fair_ard.FairARD",
        "ard.objectives.grad_align.GradAlign",
        "ard.objectives.head_scale.HeadScale",
        "ard.objectives.iad.AdaIAD",
        "ard.objectives.iad.IADI",
        "ard.objectives.iad.IADII",
        "ard.objectives.igdm.IGDM",
        "ard.objectives.ikl.IKLAT",
        "ard.objectives.interval_sensitivity.IntervalSensitivity",
        "ard.objectives.kd.KD",
        "ard.objectives.lbgat.LBGAT",
        "ard.objectives.liet.LIET",
        "ard.objectives.less_known.LessKnown",
        "ard.objectives.mart.MART",
        "ard.objectives.mtard.BMTARD",
        "ard.objectives.mtard.CIARD",
        "ard.objectives.mtard.MTARD",
        "ard.objectives.natural.Natural",
        "ard.objectives.node_alignment.NodeAlignment",
        "ard.objectives.norm_bias.NormBias",
        "ard.objectives.nuat.NuAT",
        "ard.objectives.peeraid.PeerAiD",
        "ard.objectives.pgd_at.PGDAT",
        "ard.objectives.rank_projection.RankProjection",
        "ard.objectives.region_at.RegionAT",
        "ard.objectives.rslad.RSLAD",
        "ard.objectives.saad.SAAD",
        "ard.objectives.teacher_labels.TeacherLabels",
        "ard.objectives.trades.TRADES",
        "ard.objectives.weissi.WEISSI",
    ],
    Engine: ["ard.Distillation", "ard.FreeDistillation"],
}
ENGINES = PATHS[Engine]
ASKED = {Attack: AttackFactory, nn.Module: Network}  # where a config names what a part is made by; else a part's own class
PLACES = {Ball: "attacks", Attack: "attacks", DataModule: "data", Frozen: "models", nn.Module: "models"}
PLACES[Objective] = "objectives"
NEEDED: dict[str, dict[str, Any]] = {  # arguments without a default
    "Linf": {"eps": "8/255"},
    "L2": {"eps": "8/255"},
    "ImageFolder": {"root": "images", "size": 8},
    "KnownLabels": {"base": {"class_path": "Digits"}},
    "Mixed": {"base": {"class_path": "Digits"}, "others": "others.npz"},
    "Photos": {"root": "photos"},
    "Ensemble": {"members": [{"class_path": "Frozen"}] * 2},
    "Narrowed": {"network": {"class_path": "WideResNet"}, "sizes": {}},
    "Normalized": {"network": {"class_path": "WideResNet"}, "mean": [0.5], "std": [0.5]},
    "IGDM": {"base": {"class_path": "RSLAD"}},
    **{name: {"name": "resnet18"} for name in ("RobustBench", "Timm", "Torchvision")},
}


def kind_of(value: type) -> type | None:
    """The first of the kinds that it is; of modules only networks and teachers can be named in a config."""
    kind = next((kind for kind in (Engine, Objective, Frozen, Ball, Attack, DataModule) if issubclass(value, kind)), None)
    is_network = issubclass(value, nn.Module) and "num_classes" in inspect.signature(value).parameters
    return kind or (nn.Module if is_network else None)


def public() -> dict[type, dict[str, type]]:
    """Every concrete class of a kind in the package where its kind lives; an engine may live anywhere."""
    found: dict[type, dict[str, type]] = {kind: {} for kind in PATHS}
    for module in pkgutil.walk_packages(ard.__path__, "ard."):
        for value in vars(import_module(module.name)).values() if not module.name.endswith("__main__") else ():
            if not inspect.isclass(value) or value.__module__ != module.name or value.__name__.startswith("_"):
                continue
            kind = kind_of(value)
            in_place = kind is Engine or module.name.startswith(f"ard.{PLACES.get(kind)}.")
            if kind and in_place and not inspect.isabstract(value) and value is not Engine:
                found[kind][value.__name__] = value
    return found


PUBLIC = public()


def test_every_public_class_has_its_path_here():
    """A new class takes its line above; one that is renamed or gone would leave stored runs without theirs."""
    for kind, paths in PATHS.items():
        assert sorted(PUBLIC[kind]) == sorted(path.rpartition(".")[2] for path in paths)


@pytest.mark.parametrize(
    ("kind", "path"),
    [pytest.param(kind, path, id=path) for kind in PATHS if kind is not Engine for path in PATHS[kind]],
)
def test_a_bare_name_becomes_this_path(kind, path):
    name = path.rpartition(".")[2]
    if name in ("MobileNetV2", "ResNet"):  # torchvision has them, too: where it is imported, a bare name is refused
        name = f"{PUBLIC[kind][name].__module__}.{name}"
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--part", type=ASKED.get(kind, kind))
    part = {"class_path": name, "init_args": NEEDED.get(path.rpartition(".")[2], {})}
    assert parser.parse_object({"part": part}).part.class_path == path


@pytest.mark.parametrize("path", ENGINES)
def test_a_command_line_of_bare_names_becomes_these_paths(path, tmp_path):
    recipe = yaml.safe_load((CONFIGS / "methods" / "pgd_at_awp.yaml").read_text())
    recipe["model"]["class_path"] = path.rpartition(".")[2]
    if path == ENGINES[1]:  # has no weight perturbation
        del recipe["model"]["init_args"]["weight_perturbation"]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    options = ["--data=Digits", "--model.init_args.threat=Linf", "--model.init_args.threat.init_args.eps=0.1"]
    options += ["--model.init_args.attack=FGSM", "--model.init_args.teacher=Frozen"]
    words = ["fit", "-c", str(CONFIGS / "digits.yaml"), "-c", str(tmp_path / "recipe.yaml"), *options]
    found = Parsed(words).resolved
    parts = found["model"]["init_args"]
    assert (found["data"]["class_path"], found["model"]["class_path"]) == ("ard.data.Digits", path)
    assert [parts[name]["class_path"] for name in ("threat", "attack", "teacher")] == [
        "ard.attacks.Linf",
        "ard.attacks.FGSM",
        "ard.models.Frozen",
    ]
    assert "class_path" not in parts["training"]
    assert parts.get("weight_perturbation") in (
        None,
        {"gamma": 0.01, "start": 0.0, "restore": "before_step"},  # its arguments alone are written
    )
