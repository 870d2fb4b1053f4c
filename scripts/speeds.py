#!/usr/bin/env python3
"""Measure how fast every recipe trains relative to ARD, and write docs/results/speeds.json.

scripts/speeds.py [--batch-size N] [--rounds N] [NAME...]: the recipes named alone, keeping what was written of the others
under the same conditions; without names all that have a row of their own in docs/methods.md. MobileNetV2 learns from
ResNet-18 on random images of 32×32, PGD-10, as in `ard bench`. After each of its steps a recipe waits for one of ARD's.
"""

import argparse
import json
import os
import statistics
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

if __name__ == "__main__":  # before torch is imported
    os.environ.update(OMP_NUM_THREADS=str(len(os.sched_getaffinity(0))), OMP_WAIT_POLICY="passive")

import pytorch_lightning as pl
import torch
import yaml
from costs import teacher_options
from torch import nn

from ard.artifacts.card import Card
from ard.artifacts.weights import save_weights
from ard.bench.benchmark import conditions
from ard.bench.levers import BenchRow
from ard.bench.measure import ratio
from ard.bench.networks import NETWORKS
from ard.bench.timed_step import TimedStep
from ard.cli.lightning import CLI
from ard.cli.messages import quiet
from ard.core.devices import gpu_or_cpu
from ard.core.files import write_whole
from ard.data import DataModule
from ard.data.loading import Images, MemoryImages

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "docs" / "results" / "speeds.json"
SMALL_ALONE = {"rslad_interval"}  # refuses students as deep as these
RECIPES = [path for path in sorted((ROOT / "configs" / "methods").glob("*.yaml")) if "as-released" not in path.stem]
RECIPES = [path for path in RECIPES if path.stem not in SMALL_ALONE]
PGD_STEPS = 10


class Noise(DataModule):
    """Random images, as many batches as are asked for."""

    classes = tuple("0123456789")
    input_shape = (3, 32, 32)

    def __init__(self, *, batch_size: int, batches: int) -> None:
        super().__init__(batch_size=batch_size, val_size=10, crop_padding=4, flip=True, workers=0, seed=0, split_seed=0)
        self.count = batch_size * batches + self.val_size

    def training_images(self) -> Images:
        pixels = torch.randint(256, (self.count, 3, 32, 32), dtype=torch.uint8)
        return MemoryImages(pixels, torch.arange(self.count) % 10)

    def test_images(self) -> Images:
        return self.training_images()


class BesideARD(pl.Callback):
    """Times the recipe's steps and, after each, one of ARD's, but for the first 0.3: until then some methods do less."""

    def __init__(self, *, batch_size: int, rounds: int) -> None:
        self.batch_size, self.unmeasured = batch_size, -(-3 * rounds // 7)
        self.seconds: list[float] = []
        self.reference: list[float] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        row = BenchRow(group="ARD", lever="the shipped default", bfloat16="bf16" in str(trainer.precision))
        self.ard = TimedStep(row, batch_size=self.batch_size, steps=PGD_STEPS, device=pl_module.device)
        self.ard(0)

    def on_train_batch_start(self, *_: Any) -> None:
        self.start = self.ard.watch.now()

    def on_train_batch_end(self, _: Any, __: Any, ___: Any, ____: Any, batch_idx: int) -> None:
        end = self.ard.watch.now()
        if batch_idx >= self.unmeasured:
            self.ard(batch_idx)
            self.seconds.append(end - self.start)
            self.reference.append(self.ard.watch.now() - end)


def speed_of(recipe: Path, place: Path, weights: Path, *, batch_size: int, rounds: int, more: list[str]) -> dict[str, Any]:
    """How many times as fast as ARD: the median round, the slowest and the fastest; replays count as steps."""
    replays = yaml.safe_load(recipe.read_text())["model"]["init_args"].get("replays", 1)
    beside = BesideARD(batch_size=batch_size, rounds=rounds)
    words = ["fit", "-c", str(ROOT / "configs" / "cifar10.yaml"), "-c", str(recipe), *teacher_options(recipe, weights)]
    words += ["--data=speeds.Noise", f"--data.init_args.batch_size={batch_size}"]
    words += [f"--data.init_args.batches={rounds + beside.unmeasured}", f"--trainer.max_epochs={replays}"]
    words += ["--trainer.limit_val_batches=0", "--trainer.enable_progress_bar=false", *more]

    class Timed(CLI):
        def instantiate_trainer(self, **kwargs: Any) -> Any:
            trainer = super().instantiate_trainer(**kwargs)
            trainer.callbacks.append(beside)
            return trainer

    Timed([*words, f"--trainer.default_root_dir={place / recipe.stem}"])
    seconds = [step / replays for step in beside.seconds]
    return {**ratio(beside.reference, seconds), "seconds": statistics.median(seconds)}


def save_teacher(file: Path) -> Path:
    """A ResNet-18 that knows nothing."""
    network: nn.Module = NETWORKS["ResNet-18"]()
    save_weights(file, network, Card(class_path="ard.models.ResNet", init_args={}, num_classes=10))
    return file


def main(names: list[str], *, batch_size: int, rounds: int) -> None:
    """Measure and write after every recipe, so that an interruption costs one."""
    quiet()
    device = gpu_or_cpu()
    made = {**conditions(device), "batch_size": batch_size, "pgd_steps": PGD_STEPS, "rounds": rounds}
    existing = json.loads(OUTPUT.read_text()) if OUTPUT.is_file() and names else {}
    speeds = existing.pop("relative_to_ard", {})
    if speeds and existing != made:
        sys.exit(f"{OUTPUT} was measured under other conditions: {existing}; here they are {made}; measure all recipes anew")
    with TemporaryDirectory() as scratch:
        weights = save_teacher(Path(scratch) / "teacher.safetensors")
        for recipe in RECIPES:
            if not names or recipe.stem in names:
                speeds[recipe.stem] = speed_of(recipe, Path(scratch), weights, batch_size=batch_size, rounds=rounds, more=[])
                print(recipe.stem, speeds[recipe.stem], file=sys.stderr)
                write_whole(OUTPUT, json.dumps({**made, "relative_to_ard": speeds}, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[[], *(path.stem for path in RECIPES)])
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    main(asked.names, batch_size=asked.batch_size, rounds=asked.rounds)
