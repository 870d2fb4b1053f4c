#!/usr/bin/env python3
"""Count the passes of a training step of every recipe, PGD-10, and write docs/results/costs.json.

scripts/costs.py [NAME...] counts the recipes named alone and keeps what was written of the others.
"""

import json
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from ard.artifacts.card import Card
from ard.artifacts.weights import save_weights
from ard.bench.passes import Passes
from ard.cli.lightning import CLI, resolve_config
from ard.cli.messages import quiet
from ard.core.files import write_whole
from ard.models import ResNet

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "docs" / "results" / "costs.json"
TEACHER = {"in_channels": 1, "width": 8, "blocks": [1]}
STEP = ["--trainer.limit_train_batches=2", "--trainer.limit_val_batches=0", "--trainer.enable_progress_bar=false"]


def passes_of(recipe: Path, place: Path, options: list[str]) -> dict[str, dict[str, float]]:
    """Of one step; replays count as steps."""
    content = yaml.safe_load(recipe.read_text())["model"]["init_args"]
    replays = content.get("replays", 1)
    words = ["fit", "-c", str(ROOT / "configs" / "digits.yaml"), "-c", str(recipe), *options, *STEP]
    words += [f"--trainer.max_epochs={replays}", f"--trainer.default_root_dir={place / recipe.stem}"]
    if resolve_config(words)["model"]["init_args"]["attack"].get("init_args", {}).get("steps", 1) > 1:
        words.append("--model.init_args.attack.init_args.steps=10")
    passes = Passes()

    class Counted(CLI):
        def instantiate_trainer(self, **kwargs: Any) -> Any:
            trainer = super().instantiate_trainer(**kwargs)
            trainer.callbacks.append(passes)
            return trainer

    Counted(words)
    return {name: {kind: n / replays for kind, n in count.items()} for name, count in passes.counts.items() if count["F"]}


def teacher_options(recipe: Path, weights: Path) -> list[str]:
    """Those of the command in a recipe's head, with the file put in."""
    return [f"{option}={weights}" for option in dict.fromkeys(re.findall(r"(--\S+) FILE", recipe.read_text()))]


def main(names: list[str]) -> None:
    """Every recipe, or those named."""
    quiet()
    recipes = {path.stem: path for path in sorted((ROOT / "configs" / "objectives").glob("*.yaml"))}
    found = json.loads(OUTPUT.read_text())["passes"] if names else {}
    with TemporaryDirectory() as scratch:
        weights = Path(scratch) / "teacher.safetensors"
        card = Card(class_path="ard.models.ResNet", init_args=TEACHER, num_classes=10)
        save_weights(weights, ResNet(num_classes=10, **TEACHER), card)
        for name in names or recipes:
            found[name] = passes_of(recipes[name], Path(scratch), teacher_options(recipes[name], weights))
            print(name, found[name], file=sys.stderr)
    passes = {name: found[name] for name in recipes if name in found}
    write_whole(OUTPUT, json.dumps({"pgd_steps": 10, "passes": passes}, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
