"""`ard.fit`: a training run, as `ard fit` does it."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ard.artifacts.metrics import read_validations
from ard.artifacts.paths import RunFolder, weights_file
from ard.artifacts.weights import card_of
from ard.calls.arguments import known_arguments
from ard.cli.messages import quiet
from ard.cli.short_words import run_folder
from ard.commands.fit import fit_student
from ard.configs.catalogue import find
from ard.core.errors import UserError
from ard.core.radius import Radius, RadiusLike
from ard.core.text import radius
from ard.models import load


@dataclass(frozen=True)
class FitResult:
    """A finished run.

    Attributes:
        folder: Its folder.
        weights: The weights of the epoch that was selected on the validation split.
        accuracies: Of that epoch, on validation images: clean, and under the validation attack, as fractions; empty where
            metrics.csv cannot be read.
    """

    folder: Path
    weights: Path
    accuracies: dict[str, float]

    @cached_property
    def model(self) -> nn.Module:
        """The network with these weights, in eval mode: pixels in [0, 1] in, logits out."""
        return load(self.weights)

    @classmethod
    def of(cls, folder: Path) -> "FitResult":
        """Of the files that a run has left in its folder."""
        weights = RunFolder(folder).weights()
        training = card_of(weights).training
        validations = read_validations(RunFolder(folder).metrics)
        chosen = [one for one in validations if training is not None and one.epoch == training.epoch][-1:]
        return cls(folder, weights, {"clean": chosen[0].clean_acc, "robust": chosen[0].robust_acc} if chosen else {})


@known_arguments
def fit(
    method: str,
    *,
    data: str | Path,
    student: str | None = None,
    teacher: str | Path | FitResult | None = None,
    eps: RadiusLike | None = None,
    epochs: int | None = None,
    lr: float | None = None,
    batch_size: int | None = None,
    data_dir: str | Path | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    devices: int | str | None = None,
    precision: str | None = None,
    logger: str | None = None,
    average: float | None = None,
    init: str | Path | FitResult | None = None,
    resume: bool = False,
    options: Sequence[str] = (),
) -> FitResult:
    """Train one student as `ard fit` does: the same files, the same numbers. None leaves what the base says.

    Args:
        method: A name of `ard list methods`, whatever its case, hyphens and underscores, or the path of a recipe.
        data: A name of `ard list bases`, such as "digits", or the path of a base config: data, student, radius, epochs.
        student: A network of ard.models by name, such as "mobilenet_v2".
        teacher: Its file of weights, its run's folder, or what `fit` returned for it.
        eps: The radius of the threat, such as 8/255.
        epochs: Passes over the training images.
        lr: The highest learning rate.
        batch_size: Images a step, on all devices together.
        data_dir: Where the images are, or are downloaded to.
        out: The run's folder; by default checkpoints/<data>/<method>/seed<seed>.
        seed: Of every random draw.
        devices: How many GPUs, or processes on a CPU; by default one, since with several the whole script runs
            in the process of each.
        precision: "auto", "32-true", "bf16-mixed" or "16-mixed".
        logger: "wandb", "tensorboard" or the path of a class; metrics.csv is always written.
        average: The decay of averaged weights, such as 0.9995.
        init: Weights that the student begins with.
        resume: Go on from the folder's newest checkpoint, where there is one.
        options: Any further words of the command line, such as ["schedules/rslad", "--model.student.width=0.5"].

    Raises:
        UserError: For whatever `ard fit` refuses.
    """
    base, recipe = find(data, "bases"), find(method, "methods")
    place = None if out is None else RunFolder.of(out).root
    files = {name: None if run is None else weights_of(run) for name, run in (("teacher", teacher), ("init", init))}
    chosen: dict[str, Any] = {"student": student, **files, "epochs": epochs, "lr": lr, "average": average}
    chosen |= {"eps": None if eps is None else written_radius(eps), "batch-size": batch_size, "data-dir": data_dir}
    if devices is None and torch.cuda.device_count() > 1:  # else what a base says is one, and the run that of the verb
        devices = 1
    chosen |= {"out": place, "seed": seed, "devices": devices, "precision": precision, "logger": logger}
    words = [f"--{name}={value}" for name, value in chosen.items() if value is not None] + ["--resume"] * resume
    command = ["fit", str(base), str(recipe), *words, *options]
    folder = run_folder(command)  # as the files say it now
    with warnings.catch_warnings():
        quiet()
        fit_student(command)
    return FitResult.of(folder)


def weights_of(run: str | Path | FitResult) -> Path:
    """A file of weights: itself, or that of the epoch which a run's folder, or what `fit` returned, has selected."""
    if run == "":
        raise UserError("'' names no weights: expected a file, a run's folder, or what `fit` returned")
    return run.weights if isinstance(run, FitResult) else Path(weights_file(run))


def written_radius(eps: RadiusLike) -> str:
    """A radius as configs write it: 8/255 where that is the number, so that both ways to say it are one run."""
    short = eps if isinstance(eps, str) else radius(eps)
    return short if float(Radius(short)) == float(Radius(eps)) else repr(float(eps))
