"""What one sees while it trains: a panel, a line of every epoch that stays, and on a terminal a bar below them."""

import math
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.utilities.data import extract_batch_size
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from torch import Tensor

from ard.core.terminal import console
from ard.core.text import duration
from ard.training.callbacks.epoch_line import LEGEND, EpochLine, header
from ard.training.callbacks.pace import Pace
from ard.training.callbacks.panel import panel
from ard.training.callbacks.ranks import over_all
from ard.training.engine import Engine
from ard.training.selection import is_above_chance

NAMES = "loss", "robust_acc"  # of what every method measures in a step
ESTIMATE = 5.0  # seconds of steps after which the duration of the run is said, where no epoch has ended by then


class Screen(ProgressBar):
    """Takes the place of Lightning's progress bar; any pl.Trainer that trains one of our modules can be given it.

    Nothing in a step waits for the device: what it measured is read when its epoch has been validated. Where the output is
    no terminal there are the same lines without the bar, each flushed as it comes. Only the first process prints.

    Args:
        bar: Whether there is a bar on a terminal.
    """

    def __init__(self, bar: bool = True) -> None:
        super().__init__()
        self.bar, self.enabled = bar, True
        self.best: tuple[float, int] | None = None
        self._steps: dict[str, list[Tensor]] = {}
        self._pace, self._said, self._estimated = Pace(), True, False
        self._console, self._progress = console(), None  # type: Console, Progress | None

    def enable(self) -> None:
        self.enabled = True

    def disable(self) -> None:
        self.enabled = False

    def print(self, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        self._say(" ".join(map(str, args)))

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best = state["best"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._pace, self._steps, self._said, self._estimated = Pace(), {name: [] for name in NAMES}, True, False
        if not self.enabled:
            return
        if isinstance(pl_module, Engine):
            self._console.print(panel(trainer, pl_module, self._console), soft_wrap=not self._console.is_terminal)
        self._say(f"{LEGEND}\n{header()}")
        if self.bar and self._console.is_terminal:
            self._progress = _progress(self._console)
            self._task = self._progress.add_task("starting", total=_total(trainer), speed="", left="")
            self._progress.start()

    def on_train_batch_start(self, *_: Any) -> None:
        self._pace.begin_step()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ARG002
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._said = False
        self._pace.end_step(extract_batch_size(batch) * trainer.world_size)
        measured: dict[str, Tensor] = getattr(pl_module, "measured", {})
        if not getattr(pl_module, "skipped", False):
            for name in NAMES:
                if name in measured:
                    self._steps[name].append(measured[name])
        if self.enabled:
            self._show(trainer, batch_idx + 1)

    def on_validation_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if self._progress is not None and trainer.training:
            self._progress.update(self._task, description="validating", completed=args[3] + 1, total=self.total_val_batches)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Before the guards look at the epoch, so that one that ends the run has its line, too."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._end_epoch(trainer, pl_module, validated=True)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self._said:  # an epoch that was not validated
            self._end_epoch(trainer, pl_module, validated=False)

    def on_train_end(self, *_: Any) -> None:
        self._stop()

    def on_exception(self, *_: Any) -> None:
        self._stop()

    def teardown(self, *_: Any, **__: Any) -> None:
        self._stop()

    def _show(self, trainer: pl.Trainer, batch: int) -> None:
        """The bar, and once how long it will all take."""
        left = self._left(trainer, batch)
        if not self._estimated and self._pace.running > ESTIMATE and left is not None:
            self._estimated = True
            self._say(f"about {duration(left)} to go, validation not counted")
        if self._progress is not None:
            speed = self._pace.speed
            self._progress.update(
                self._task,
                description=f"epoch {trainer.current_epoch}",
                completed=batch,
                total=_total(trainer),
                speed=f"{speed:,.0f} images/s" if speed else "",
                left=f"{duration(left)} left" if left is not None else "",
            )

    def _left(self, trainer: pl.Trainer, batch: float) -> float | None:
        """Seconds until the run ends, when `batch` batches of this epoch are done."""
        epochs = (trainer.max_epochs or 0) - trainer.current_epoch - 1
        if epochs < 0 or math.isinf(trainer.num_training_batches):
            return None
        steps = epochs * trainer.num_training_batches + trainer.num_training_batches - batch
        return self._pace.left(steps, epochs // (trainer.check_val_every_n_epoch or 1))

    def _end_epoch(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *, validated: bool) -> None:
        """All ranks come here, whose measurements are averaged; the first prints."""
        self._said = self._estimated = True
        loss, accuracy = self._means(trainer, pl_module)
        values = {name: float(value) for name, value in trainer.callback_metrics.items()} if validated else {}
        monitor = pl_module.training_block.monitor if isinstance(pl_module, Engine) else "val/robust_acc"
        value = values.get(monitor)
        if value is not None and is_above_chance(trainer) and (self.best is None or value > self.best[0]):
            self.best = value, trainer.current_epoch
        line = EpochLine(
            epoch=trainer.current_epoch,
            lr=getattr(pl_module, "lr", None),
            loss=loss,
            train_robust_acc=accuracy,
            clean_acc=values.get("val/clean_acc"),
            robust_acc=values.get("val/robust_acc"),
            best=self.best,
            images_per_s=self._pace.end_epoch(),
            left=self._left(trainer, trainer.num_training_batches) if self._pace.steps else None,
        )
        self._say(str(line))

    def _means(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> list[float | None]:
        """Of each measurement over the epoch's steps that have it; None where none has."""
        rows = []
        for steps in self._steps.values():
            values = torch.stack(steps).float() if steps else torch.empty(0, device=pl_module.device)
            rows.append(torch.stack([values.nan_to_num(0).sum(), values.isfinite().sum()]))
            steps.clear()
        sums, counts = over_all(trainer, torch.stack(rows)).T.tolist()
        return [total / count if count else None for total, count in zip(sums, counts, strict=True)]

    def _say(self, text: str) -> None:
        if self.enabled:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def _total(trainer: pl.Trainer) -> float | None:
    """Batches of an epoch; None where nobody knows them."""
    return None if math.isinf(trainer.num_training_batches) else trainer.num_training_batches


def _progress(screen: Console) -> Progress:
    first, *rest = (TextColumn(f"{{task.{name}}}") for name in ("description", "fields[speed]", "fields[left]"))
    return Progress(
        first,
        BarColumn(None),
        MofNCompleteColumn(" / "),  # "12 / ?" where nobody knows how many
        *rest,
        console=screen,
        transient=True,
        expand=True,
        refresh_per_second=2,
    )
