"""What a run's loggers are told besides its metrics: what is trained on what, how it ended, and two pictures."""

import warnings
from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from PIL.Image import Image
from torch import Tensor

from ard.artifacts.metrics import Validation, read_validations
from ard.artifacts.paths import RunFolder
from ard.attacks import frozen_mode
from ard.core.randomness import keyed_generator
from ard.core.text import named_error
from ard.losses import attack_labels
from ard.training.callbacks.about import described_run
from ard.training.engine import Engine
from ard.training.loggers import attempt, log_image, log_summary, takes_images
from ard.training.selection import selected

SHOWN = 8  # images of the first validation batch


class LoggedRun(pl.Callback):
    """Hyperparameters when a run begins; final numbers, the trade-off and attacked images when it ends.

    None of it waits for the device inside a step or draws from a random generator of the run, and a logger that fails is
    left alone.
    """

    def __init__(self) -> None:
        self.shown: tuple[Tensor, Tensor] | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Engine)
        told = described_run(trainer, pl_module)
        for logger in trainer.loggers:
            attempt(logger, lambda logger=logger: logger.log_hyperparams(told))  # type: ignore[misc]

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002
        outputs: Any,
        batch: Any,  # noqa: ARG002
        batch_idx: int,
        dataloader_idx: int = 0,  # noqa: ARG002
    ) -> None:
        if batch_idx == 0 and trainer.is_global_zero and any(map(takes_images, trainer.loggers)):
            self.shown = outputs["x"][:SHOWN].clone(), outputs["y"][:SHOWN].clone()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Engine)
        if not trainer.is_global_zero:
            return
        validations = read_validations(RunFolder.of(trainer.default_root_dir).metrics)
        if not validations:
            return
        best, last = selected(validations, pl_module.training_block.monitor), validations[-1]
        for logger in trainer.loggers:
            log_summary(logger, _numbers(best, last), best.robust_acc if best else None)
        takers = [logger for logger in trainer.loggers if takes_images(logger)]
        if takers:
            for name, picture in self._pictures(pl_module, validations, best or last):
                for logger in takers:
                    log_image(logger, name, picture, trainer.global_step)

    def _pictures(self, engine: Engine, validations: list[Validation], best: Validation) -> Iterator[tuple[str, Image]]:
        """By name; one that cannot be drawn is left out: the run's weights are not exported yet."""
        try:
            from ard.training.callbacks.pictures import attacked_images, trade_off  # matplotlib, which few runs need

            yield "trade_off", trade_off(validations, best)
            if self.shown is not None:
                yield "attacked", attacked_images(self.shown[0], attacked(engine, *self.shown), engine.threat.eps)
        except Exception as error:
            warnings.warn(f"no picture for the loggers: {named_error(error)}", stacklevel=1)


def _numbers(best: Validation | None, last: Validation) -> dict[str, float]:
    chosen = {} if best is None else {"best/epoch": best.epoch, **_accuracies("best", best)}
    return chosen | _accuracies("last", last)


def _accuracies(name: str, validation: Validation) -> dict[str, float]:
    return {f"{name}/clean_acc": validation.clean_acc, f"{name}/robust_acc": validation.robust_acc}


def attacked(engine: Engine, x: Tensor, y: Tensor) -> Tensor:
    """The images under the run's validation attack on the network that it ships, with the random start of validation."""
    network = engine.selected
    with frozen_mode(network), torch.autocast(x.device.type, enabled=False):
        generator = keyed_generator(engine.device, "val_attack", engine.seed, 0, 0)
        return engine.val_attack(attack_labels(network, y), x, generator)
