"""The recipes of configs/methods: all of them, a few that between them use everything, and each one resolved once."""

from functools import cache
from pathlib import Path

import yaml
from parsed_configs import Parsed
from small_runs import ROOT

CONFIGS = ROOT / "configs"
DIGITS = CONFIGS / "digits.yaml"
RECIPES = sorted((CONFIGS / "methods").glob("*.yaml"))


def content(path):
    return yaml.load(Path(path).read_text(), yaml.CSafeLoader)


def parts(path):
    return content(path)["model"]["init_args"]


def class_paths(tree):
    """Every class that a config names, at every depth."""
    if isinstance(tree, dict):
        yield from [tree["class_path"]] if "class_path" in tree else []
        for branch in tree.values():
            yield from class_paths(branch)


def features(recipe):
    """What a recipe uses: its engine, objectives and attack, and what of training it turns on."""
    init_args = parts(recipe)
    switches = [f"{key}={init_args[key]}" for key in ("attack_mode", "clean_pass", "clamped") if key in init_args]
    if "weight_perturbation" in init_args:
        switches.append(f"weights restored {init_args['weight_perturbation'].get('restore', 'before_step')}")
    switches += [key for key in ("average",) if key in init_args["training"]]
    return {*class_paths(content(recipe)["model"]), *switches}


@cache
def spread():
    """Recipes in which every feature occurs that any recipe has; the variants `as released` share most of theirs."""
    seen, chosen = set(), []
    for recipe in sorted(RECIPES, key=lambda path: (path.stem.endswith("-as-released"), path.stem)):
        if features(recipe) - seen:
            chosen.append(recipe)
            seen |= features(recipe)
    return chosen


@cache
def resolved(*words):
    """What the parser of `ard fit` makes of these words; nobody changes what it gives."""
    return Parsed(["fit", *words]).resolved
