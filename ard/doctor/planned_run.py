"""The run that is examined: its parts as `ard fit` builds them, without writing anything."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.loggers.logger import Logger

from ard.cli.lightning import DryRun, as_list
from ard.core.errors import UserError
from ard.data import DataModule
from ard.data.loading import Images
from ard.training.engine import Engine
from ard.training.trainer import device_type


class PlannedCLI(DryRun):
    """Builds the parts of a run, with two changes, so that a few steps of it tell what all cost and write nothing.

    A teacher that stores its logits in a file (Cached) becomes one that does not (Frozen), and an attack whose steps grow
    takes their mean from the first epoch on.
    """

    def before_instantiate_classes(self) -> None:
        super().before_instantiate_classes()
        teacher = self.config[self.subcommand].model.init_args.get("teacher")
        if teacher is not None and teacher.class_path.startswith("ard.models.") and teacher.class_path.endswith(".Cached"):
            teacher.class_path = "ard.models.Frozen"
        self._settle_steps(self.config[self.subcommand].model.init_args)

    @staticmethod
    def _settle_steps(arguments: Any) -> None:
        attack, training = arguments.attack.get("init_args") or {}, arguments.training
        if training.first_steps is not None and training.first_steps <= attack.get("steps", 1):  # else it is refused
            if "steps" in attack:  # else it takes one
                attack["steps"] = round((training.first_steps + attack["steps"]) / 2)
            training.first_steps = None


@dataclass(frozen=True)
class PlannedRun:
    """Engine, data, the options of the trainer, and where the run would write."""

    engine: Engine
    data: DataModule
    section: dict[str, Any]  # the config's `data:`
    options: dict[str, Any]
    directory: Path
    resumes: bool
    device: torch.device

    @classmethod
    def of(cls, arguments: Sequence[str]) -> "PlannedRun":
        """Raises UserError for what `ard fit` refuses to build."""
        built = PlannedCLI(["fit", *arguments])
        options = dict(built.config_init["fit"]["trainer"])
        return cls(
            engine=built.model,
            data=built.datamodule,
            section=built.resolved["data"],
            options=options,
            directory=Path(options["default_root_dir"]),
            resumes=built.config["fit"].ckpt_path is not None or built.config["fit"].resume is not None,
            device=torch.device(device_type(options["accelerator"])),
        )

    @cached_property
    def splits(self) -> dict[str, Images]:
        """Training and validation images, and test images where there are any to open."""
        return opened(self.data)

    @property
    def loggers(self) -> list[Logger]:
        """Those beside metrics.csv."""
        return as_list(self.options["logger"])

    @property
    def max_epochs(self) -> int:
        """As the trainer counts them."""
        return self.options["max_epochs"] or 1


def opened(data: DataModule) -> dict[str, Images]:
    """Each split by its name; without `test` where that cannot be opened, which training does not need."""
    splits: dict[str, Images] = dict(zip(("train", "val"), data.splits, strict=True))
    try:
        return splits | {"test": data.test_images()}
    except (UserError, OSError):
        return splits
