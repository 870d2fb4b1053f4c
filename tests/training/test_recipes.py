"""Every file of configs/ through the real parser, every recipe through one fit; what a recipe says and leaves unsaid."""

import json
import re
from copy import deepcopy
from importlib import import_module
from inspect import signature

import costs
import pytest
import torch
from conftest import FAST, TINY
from pytorch_lightning import Callback
from recipe_steps import Steps
from shipped_recipes import CONFIGS, RECIPES, content, parts, resolved, spread
from small_runs import ROOT, teacher_options
from tiny import concrete, images, labels

import ard.attacks
import ard.objectives
from ard.artifacts.facts import SWITCHES
from ard.artifacts.weights import read_weights
from ard.cli.lightning import resolve_config
from ard.cli.refusals import check_run
from ard.cli.short_words import expanded
from ard.configs.catalogue import names
from ard.core.files import sha256
from ard.objectives.base import Objective
from ard.study.step_costs import passes_with
from ard.training.config_digest import config_digest

BASES = sorted(CONFIGS / f"{name}.yaml" for name in names("bases"))
TEACHERS = sorted((CONFIGS / "teachers").glob("*.yaml"))
SCHEDULES = sorted((CONFIGS / "schedules").glob("*.yaml"))
AUGMENTATIONS = sorted((CONFIGS / "augmentations").glob("*.yaml"))
PGD_AT = CONFIGS / "methods" / "pgd_at.yaml"
WRITTEN = json.loads((ROOT / "docs/results/costs.json").read_text())["passes"]


def each(name, files):
    return pytest.mark.parametrize(name, files, ids=lambda path: path.stem)


def head(path):
    """The comment that a file begins with, as one line of words."""
    lines = path.read_text().splitlines()
    length = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    return " ".join(line.lstrip("# ").rstrip("\\").strip() for line in lines[:length])


def keys(tree):
    """Every key at every depth."""
    if isinstance(tree, dict):
        yield from tree
    for branch in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from keys(branch)


def without_weights(tree):
    """Which files the teachers are, and of which networks, a recipe leaves to the command line."""
    if not isinstance(tree, dict):
        return tree
    if tree.get("class_path") == "ard.models.Frozen":
        return {"class_path": "ard.models.Frozen"}
    return {key: without_weights(branch) for key, branch in tree.items()}


# Without train/robust_acc: all but one attack nothing, that one is given two points an image.
UNHEARD = {"natural", "kd", "kd_one_hot", "kd_same_odds", "kd_class_mean", "kd_another_image", "rslad_region", "cgard"}


class Start(Callback):
    """Remembers the student's state before the first step."""

    def on_train_start(self, trainer, engine):  # noqa: ARG002
        self.state = deepcopy(engine.student.state_dict())


def test_discovery_finds_the_files():
    assert {"ard", "rslad", "kd", "pgd_at", "trades", "natural", "fast_ard"} <= {path.stem for path in RECIPES}
    assert {"digits", "cifar10", "cifar100", "image_folder"} <= {path.stem for path in BASES}
    assert len(TEACHERS) >= 2
    assert {"ard", "rslad", "one_cycle"} <= {path.stem for path in SCHEDULES}


def test_every_objective_has_a_recipe():
    written = {parts(path)["objective"]["class_path"] for path in RECIPES}
    assert written >= {f"{kind.__module__}.{kind.__name__}" for kind in concrete(ard.objectives, Objective)}


@each("recipe", RECIPES)
def test_a_recipe_trains_and_costs_what_the_table_of_methods_says(recipe, teacher_file, tmp_path):
    """One fit of a few batches, its passes counted; scripts/costs.py adds a recipe to the table that is not there yet."""
    options = [*TINY, *FAST, *costs.teacher_options(recipe, teacher_file), "--trainer.limit_val_batches=1"]
    engine, found = costs.counted(recipe, tmp_path, options, callbacks=[before := Start()])
    assert engine.trainer.global_step == costs.BATCHES * costs.epochs_of(recipe)
    after = engine.student.state_dict()
    assert all(value.isfinite().all() for value in after.values())
    assert [name for name, _ in engine.student.named_parameters() if torch.equal(before.state[name], after[name])] == []
    assert (tmp_path / recipe.stem / "student.safetensors").is_file()
    assert found["student"]["F"] > 0
    assert set(engine.measured) == {"loss", "robust_acc"} - ({"robust_acc"} if recipe.stem in UNHEARD else set())
    assert WRITTEN.get(recipe.stem, found) == found
    assert_is_what_the_recipe_says(content(tmp_path / recipe.stem / "config.yaml"), recipe)


def assert_is_what_the_recipe_says(config, recipe):
    """On digits, with nothing that a base or an earlier file slipped in."""
    found, expected = config["model"], content(recipe)["model"]
    assert found["class_path"] == expected["class_path"]
    assert found["init_args"]["objective"]["class_path"] == expected["init_args"]["objective"]["class_path"]
    arguments = found["init_args"]["objective"].get("init_args") or {}
    assert without_weights(arguments) == expected["init_args"]["objective"].get("init_args", {})
    assert found["init_args"]["training"]["monitor"] == expected["init_args"]["training"]["monitor"]


@pytest.mark.parametrize("name", ["pgd_at", "adaad", "cgard"])
def test_with_fewer_steps_a_recipe_costs_what_is_computed_from_ten(name, teacher_file, tmp_path, monkeypatch):
    monkeypatch.setattr(costs, "PGD_STEPS", 3)
    (recipe,) = (path for path in RECIPES if path.stem == name)
    options = [*TINY, *FAST, *costs.teacher_options(recipe, teacher_file)]
    found = costs.counted(recipe, tmp_path, options)[1]
    assert found == {network: passes_with(3, count) for network, count in WRITTEN[name].items()}


def test_the_script_of_costs_counts_as_the_test_does(tmp_path, monkeypatch):
    monkeypatch.setattr(costs, "OUTPUT", tmp_path / "costs.json")
    (tmp_path / "costs.json").write_text(json.dumps({"passes": {"ard": WRITTEN["ard"]}}))
    costs.main(["free_at"])
    written = json.loads((tmp_path / "costs.json").read_text())
    assert written == {"pgd_steps": 10, "passes": {name: WRITTEN[name] for name in ("ard", "free_at")}}


def test_the_costs_are_those_of_recipes_there_are():
    assert {"ard", "rslad"} <= set(WRITTEN) <= {path.stem for path in RECIPES}


@each("recipe", RECIPES)
def test_the_head_names_its_source_its_command_and_published_numbers(recipe):
    text = head(recipe)
    assert re.search(r"arXiv:\d{4}\.\d{5}|et al\.|authors' code|baseline", text)
    assert "published: " in text
    assert "outer: " in text


def head_words(recipe):
    """The words of the head's command behind `ard fit`."""
    found = re.search(r"^# ard fit (.+)$", recipe.read_text(), re.MULTILINE)
    assert found, f"{recipe.name}: expected a line `# ard fit <base> <this one>` above its first key"
    return found[1].split()


@each("recipe", RECIPES + TEACHERS)
def test_the_command_of_the_head_parses(recipe):
    """Every key of its files and options is known; that each base and each recipe can be built is tested of itself."""
    words = head_words(recipe)
    assert words[1] == recipe.stem
    options = [option.replace("init_args.", "") for option in teacher_options(content(recipe))]
    options = ["--teacher" if option == "--model.teacher.weights" else option for option in options]
    assert [word for word in words if word.startswith("--")] == options
    check_run(expanded(["fit", *words]))


@each("recipe", list({head_words(recipe)[0]: recipe for recipe in RECIPES + TEACHERS}.values()))
def test_the_command_of_the_head_resolves(recipe):
    """One for each base."""
    found = resolved(*head_words(recipe))["model"]["init_args"]
    assert found["objective"]["class_path"] == parts(recipe)["objective"]["class_path"]


@each("recipe", RECIPES)
def test_a_recipe_leaves_the_threat_and_the_data_to_the_base(recipe):
    absolute = {"eps", "step_size", "threat", "val_attack", "student", "seed_everything", "max_epochs"}
    assert set(keys(content(recipe))) & absolute == set()
    data = content(recipe).get("data", {"init_args": {}})
    assert set(data) == {"init_args"}, f"{recipe.name}: a recipe may say how images are augmented, not which they are"
    assert set(data["init_args"]) <= set(SWITCHES)


@each("recipe", RECIPES + TEACHERS)
def test_a_recipe_writes_every_argument_of_its_objective(recipe):
    objective = parts(recipe)["objective"]
    module, _, name = objective["class_path"].rpartition(".")
    parameters = signature(getattr(import_module(module), name)).parameters.values()
    named = {parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
    assert set(objective.get("init_args", {})) == named, (
        f"{recipe.name}: expected each keyword-only argument of {name}, once"
    )
    assert parts(recipe)["training"]["monitor"] in ("val/robust_acc", "val/clean_acc")


@pytest.mark.parametrize("recipe", ["mtard", "ard"])
def test_a_card_names_every_teacher_by_its_contents_and_the_run_by_the_digest_a_study_expects(
    recipe, fit, command, tmp_path, teacher_file
):
    """A run writes several cards: each must say the same."""
    fit(tmp_path, recipe)
    cards = [read_weights(tmp_path / f"{name}.safetensors")[1] for name in ("student", "last")]
    expected = config_digest(resolve_config(command(tmp_path, recipe)))
    assert [card.training.config_digest for card in cards] == [expected] * 2
    if recipe == "mtard":
        second = {"network": None, "sha256": sha256(teacher_file)}
        assert [card.recipe.init_args["natural_teacher"]["init_args"] for card in cards] == [second] * 2


L2 = ["--model.init_args.threat=ard.attacks.L2", "--model.init_args.threat.init_args.eps=0.5"]


@each("recipe", spread())
def test_a_recipe_trains_in_an_l2_ball_too(recipe):
    """Those that between them use every objective, attack and way of training."""
    steps, x = Steps(recipe, ball=ard.attacks.L2(0.5)), images()
    for number in range(2):
        taken = steps(number, x, labels())
    replayed = isinstance(taken, torch.Tensor)  # CGARD's attack moves each image to two points
    moved = taken if replayed else taken.x_adv - x.repeat(len(taken.x_adv) // len(x), 1, 1, 1)
    most = 1.5 if recipe.stem == "nfgsm" else 0.5  # twice the radius in noise, and a step from there: it does not come back
    assert moved.flatten(1).norm(dim=1).max() <= most + 1e-6
    assert moved.any() == (recipe.stem not in UNHEARD - {"cgard"})
    assert all(value.isfinite().all() for value in steps.student.state_dict().values())


@pytest.mark.parametrize("recipe", ["ard", "fast_ard", "nuat"])
def test_the_threat_of_the_command_line_is_that_of_the_run(recipe, fit, tmp_path):
    replays = parts(CONFIGS / "methods" / f"{recipe}.yaml").get("replays", 1)
    start = ["--trainer.limit_train_batches=1", f"--trainer.max_epochs={replays}", "--trainer.limit_val_batches=0"]
    engine = fit(tmp_path, recipe, *start, *L2).model
    assert (engine.threat.norm, engine.threat.eps, engine.attack.ball) == ("L2", 0.5, engine.threat)
    assert engine.trainer.global_step == replays
    assert all(value.isfinite().all() for value in engine.student.state_dict().values())
