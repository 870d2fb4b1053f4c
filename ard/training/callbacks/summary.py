"""summary.json: what the guards of a run observed, and why the run ended early, if it did."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytorch_lightning as pl

from ard.artifacts.paths import RunFolder
from ard.core.errors import StoppedError
from ard.core.files import write_report, write_whole
from ard.training.callbacks.guard import Guard


class Summary(Guard):
    """Written when a run ends, and when a guard ends it; a run that never began has none."""

    def __init__(self, guards: Sequence[Guard]) -> None:
        super().__init__()
        self._guards = guards

    def on_fit_end(self, trainer: pl.Trainer, engine: pl.LightningModule) -> None:  # noqa: ARG002
        if not trainer.interrupted:
            self._write(trainer, None, write_whole)

    def on_exception(self, trainer: pl.Trainer, engine: pl.LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        if isinstance(exception, StoppedError):
            self._write(trainer, str(exception), write_report)

    def _write(self, trainer: pl.Trainer, stopped: str | None, write: Callable[[Path, str], None]) -> None:
        if not trainer.is_global_zero:
            return
        seen = {key: value for guard in self._guards for key, value in guard.seen.items() if key != "warnings"}
        warnings = [text for guard in self._guards for text in guard.seen["warnings"]]
        path = RunFolder.of(trainer.default_root_dir).summary
        with suppress(OSError):  # what writes says it
            path.parent.mkdir(parents=True, exist_ok=True)
        write(path, json.dumps({"stopped": stopped, **seen, "warnings": warnings}, indent=1) + "\n")
