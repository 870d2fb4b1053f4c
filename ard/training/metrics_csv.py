"""metrics.csv: every logged metric, complete across resumes (Lightning's CSVLogger deletes the file on resume)."""

import csv
import io
import os
import warnings
from argparse import Namespace
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger, rank_zero_experiment
from pytorch_lightning.utilities import rank_zero_only

from ard.artifacts.metrics import read_metrics
from ard.artifacts.paths import RunFolder
from ard.core.files import discard


@dataclass(frozen=True)
class _OnDisk:
    """What the file holds: every row, the last of them the one of `step`, in the bytes from `start` to `end`."""

    columns: Sequence[str]
    step: int
    start: int
    end: int


class MetricsCSV(Logger):
    """One row a step, one column a metric; a killed run leaves a readable file, of whose last line a part may be missing.

    The newest row is written at the end of the file; a new column or a change of an earlier row replaces the whole file.
    Where it cannot be written, the rows wait for the next attempt and training goes on; a warning is printed once.
    Nothing is written before `resume_before` is called, when training begins: a refused start or a validation of an old run
    must not touch what that run wrote.
    """

    def __init__(self, directory: str | Path) -> None:
        super().__init__()
        self.path = RunFolder.of(directory).metrics
        self.rows: dict[int, dict[str, Any]] | None = None
        self.trouble, self.warned = "", False  # why the last attempt to write failed, and whether a warning was printed
        self._on_disk: _OnDisk | None = None  # None: the file is not these rows
        self._unwritten = False

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
        self._on_disk = None

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Hyperparameters are in config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if self.rows is not None:
            step = step or 0
            self.rows.setdefault(step, {"step": step}).update(metrics)
            if self._on_disk and not (step == next(reversed(self.rows)) and metrics.keys() <= set(self._on_disk.columns)):
                self._on_disk = None
            self._unwritten = True
            self.save()

    @rank_zero_only
    def save(self) -> None:
        if not self.rows or not self._unwritten:  # Lightning asks after every step
            return
        try:
            self._on_disk = (self._on_disk and self._append(self._on_disk)) or self._replace()
            self.trouble, self._unwritten = "", False
        except OSError as error:
            self._on_disk = None
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

    def _append(self, before: _OnDisk) -> _OnDisk | None:
        """Write the newest row behind the others; None where the file has to be replaced."""
        assert self.rows
        step, row = next(reversed(self.rows.items()))
        start = before.start if step == before.step else before.end
        line = _lines(before.columns, [row])
        if start + len(line) < before.end or not self.path.is_file():  # what is longer would leave its end behind in a kill
            return None
        with open(self.path, "r+b") as file:
            if file.seek(0, os.SEEK_END) != before.end:  # somebody else wrote to it
                return None
            file.seek(start)
            file.write(line)
        return _OnDisk(before.columns, step, start, start + len(line))

    def _replace(self) -> _OnDisk:
        assert self.rows
        columns = ["step", "epoch", *sorted({key for row in self.rows.values() for key in row} - {"step", "epoch"})]
        *earlier, newest = self.rows.values()
        content = _lines(columns, [dict(zip(columns, columns, strict=True)), *earlier])
        last = _lines(columns, [newest])
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        try:
            temporary.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(content + last)
            os.replace(temporary, self.path)
        finally:
            discard(temporary)
        return _OnDisk(columns, next(reversed(self.rows)), len(content), len(content + last))


def _lines(columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.DictWriter(text, columns).writerows(rows)
    return text.getvalue().encode()
