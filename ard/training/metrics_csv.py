"""metrics.csv: every logged metric, complete across resumes (Lightning's CSVLogger deletes the file on resume)."""

import csv
import os
import warnings
from argparse import Namespace
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger, rank_zero_experiment
from pytorch_lightning.utilities import rank_zero_only

from ard.artifacts.metrics import read_metrics
from ard.artifacts.paths import RunFolder
from ard.core.files import discard


class MetricsCSV(Logger):
    """One row a step, one column a metric; the file is replaced atomically, so a killed run leaves a readable one.

    Where it cannot be written, the rows wait for the next attempt and training goes on; a warning is printed once.
    Nothing is written before `resume_before` is called, when training begins: a refused start or a validation of an old run
    must not touch what that run wrote.
    """

    def __init__(self, directory: str | Path) -> None:
        super().__init__()
        self.path = RunFolder.of(directory).metrics
        self.rows: dict[int, dict[str, Any]] | None = None
        self.trouble, self.warned = "", False  # why the last attempt to write failed, and whether a warning was printed

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    @property
    @rank_zero_experiment
    def experiment(self) -> Path:
        return self.path

    def resume_before(self, step: int) -> None:
        """Keep what an earlier part of the run wrote below `step`; later rows will be written again."""
        self.rows = {int(row["step"]): row for row in read_metrics(self.path) if int(row["step"]) < step}

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Hyperparameters are in config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if self.rows is not None:
            self.rows.setdefault(step or 0, {"step": step or 0}).update(metrics)
            self.save()

    @rank_zero_only
    def save(self) -> None:
        if not self.rows:
            return
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        try:
            self._write(temporary)
            self.trouble = ""
        except OSError as error:
            discard(temporary)
            self.trouble = error.strerror or str(error)
            if not self.warned:
                self.warned = True
                warnings.warn(
                    f"{self.path} cannot be written ({self.trouble}): training goes on, and it is tried again", stacklevel=1
                )

    @rank_zero_only
    def finalize(self, status: str) -> None:  # noqa: ARG002
        self.save()
        if self.trouble:
            warnings.warn(f"{self.path} is not complete: the last attempt failed, too ({self.trouble})", stacklevel=1)

    def _write(self, temporary: Path) -> None:
        assert self.rows
        columns = ["step", "epoch", *sorted({key for row in self.rows.values() for key in row} - {"step", "epoch"})]
        temporary.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.rows.values())
        os.replace(temporary, self.path)
