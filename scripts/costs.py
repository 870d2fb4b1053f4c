#!/usr/bin/env python3
"""Count the passes of a training step of every recipe, PGD-10, and write docs/results/costs.json.

Where the attack's steps grow during training it is the mean over all epochs.
scripts/costs.py [NAME...] counts the recipes named alone and keeps what was written of the others.
"""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from pytorch_lightning import Callback

from ard.artifacts.card import Card
from ard.artifacts.weights import save_weights
from ard.bench.passes import Passes
from ard.cli.lightning import CLI
from ard.cli.messages import quiet
from ard.core.files import write_whole
from ard.models import ResNet

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "docs" / "results" / "costs.json"
TEACHER = {"in_channels": 1, "width": 8, "blocks": [1]}
PGD_STEPS = 10
BATCHES = 3  # Passes counts the second: the first also looks about, and the last of an epoch may do more
STEP = ["--trainer.limit_val_batches=0"]
STEP += ["--trainer.log_every_n_steps=1", "--trainer.enable_progress_bar=false"]
STEP += ["--data.augmentation=crop_flip"]  # digits can have no other


def counted(recipe: Path, place: Path, options: list[str], callbacks: Sequence[Callback] = ()) -> tuple[Any, dict[str, Any]]:
    """A run of BATCHES steps an epoch: its engine, and the mean passes of one through each network; replays are steps."""
    epochs = epochs_of(recipe)
    passes = Passes()

    class Counted(CLI):
        def before_instantiate_classes(self) -> None:
            attack = self.config.fit.model.init_args.attack.get("init_args") or {}
            if attack.get("steps", 1) > 1:
                attack["steps"] = PGD_STEPS
            super().before_instantiate_classes()

        def instantiate_trainer(self, **kwargs: Any) -> Any:
            trainer = super().instantiate_trainer(**kwargs)
            trainer.callbacks[:0] = [*callbacks, passes]
            return trainer

    words = ["fit", "-c", str(ROOT / "configs" / "digits.yaml"), "-c", str(recipe), *STEP, *options]
    words += [f"--trainer.max_epochs={epochs}", f"--trainer.limit_train_batches={BATCHES}"]
    engine = Counted([*words, f"--trainer.default_root_dir={place / recipe.stem}"]).model
    counts = {name: {kind: n / epochs for kind, n in count.items()} for name, count in passes.counts.items() if count["F"]}
    return engine, counts


def epochs_of(recipe: Path) -> int:
    """How long a run has to be: as many epochs as replays make one, or one for each number of steps of the attack."""
    arguments = yaml.safe_load(recipe.read_text())["model"]["init_args"]
    first = arguments["training"].get("first_steps") or PGD_STEPS
    return int(arguments.get("replays") or 1 + PGD_STEPS - first)


def teacher_options(recipe: Path, weights: Path) -> list[str]:
    """Those of the command in a recipe's head, with the file put in."""
    return [f"{option}={weights}" for option in dict.fromkeys(re.findall(r"(--\S+) FILE", recipe.read_text()))]


def main(names: list[str]) -> None:
    """Every recipe, or those named."""
    quiet()
    recipes = {path.stem: path for path in sorted((ROOT / "configs" / "methods").glob("*.yaml"))}
    counted_passes = json.loads(OUTPUT.read_text())["passes"] if names else {}
    with TemporaryDirectory() as scratch:
        weights = Path(scratch) / "teacher.safetensors"
        card = Card(class_path="ard.models.ResNet", init_args=TEACHER, num_classes=10)
        save_weights(weights, ResNet(num_classes=10, **TEACHER), card)
        for name in names or recipes:
            counted_passes[name] = counted(recipes[name], Path(scratch), teacher_options(recipes[name], weights))[1]
            print(name, counted_passes[name], file=sys.stderr)
    passes = {name: counted_passes[name] for name in recipes if name in counted_passes}
    write_whole(OUTPUT, json.dumps({"pgd_steps": PGD_STEPS, "passes": passes}, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
