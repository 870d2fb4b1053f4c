"""summary.json: what was trained, how it ended, how good it became, how long it took, and what was warned of."""

import json
from collections.abc import Sequence
from dataclasses import asdict

import pytorch_lightning as pl

from ard.artifacts.facts import NO_EPOCH
from ard.artifacts.metrics import read_validations
from ard.artifacts.paths import RunFolder
from ard.core.errors import StoppedError, UserError
from ard.core.files import write_whole
from ard.core.terminal import say
from ard.training.callbacks.about import described_run, run_files
from ard.training.callbacks.guard import Guard
from ard.training.callbacks.outcome import announce_nothing
from ard.training.engine import Engine
from ard.training.selection import cut_short, selected, why_none
from ard.training.stopwatch import Stopwatch


class Summary(Guard):
    """Written when a run ends, and when a guard ends it; a run that never began has none.

    What the guards count lies in checkpoints; here are their warnings alone.
    """

    def __init__(self, guards: Sequence[Guard]) -> None:
        super().__init__(seconds=0.0)
        self._guards = guards
        self._watch = Stopwatch()

    def on_train_start(self, trainer: pl.Trainer, engine: pl.LightningModule) -> None:  # noqa: ARG002
        self._watch.start()

    def state_dict(self) -> dict[str, object]:
        self._tick()
        return super().state_dict()

    def _tick(self) -> None:
        self.seen["seconds"] += self._watch.taken()

    def on_fit_end(self, trainer: pl.Trainer, engine: pl.LightningModule) -> None:
        if trainer.interrupted:
            return
        if trainer.fast_dev_run or not trainer.global_step:  # type: ignore[attr-defined]
            announce_nothing(trainer)
        else:
            self._write(trainer, engine, None)

    def on_exception(self, trainer: pl.Trainer, engine: pl.LightningModule, exception: BaseException) -> None:
        if isinstance(exception, StoppedError):
            try:
                self._write(trainer, engine, str(exception))
            except (UserError, OSError) as error:  # it must not take the place of what stopped the run
                say(f"ard: warning: {error}", error=True)

    def _write(self, trainer: pl.Trainer, engine: pl.LightningModule, stopped: str | None) -> None:
        if not trainer.is_global_zero:
            return
        assert isinstance(engine, Engine)
        self._tick()
        folder = RunFolder.of(trainer.default_root_dir)
        validations = read_validations(folder.metrics)
        best = selected(validations, engine.training_block.monitor)
        none = best is None and bool(validations)
        warnings = [text for guard in self._guards for text in guard.seen["warnings"]]
        content = {
            "run": described_run(trainer, engine),
            "stopped": stopped,
            "selected_by": NO_EPOCH if none else engine.training_block.monitor,
            "best": asdict(best) if best else None,
            "last": asdict(validations[-1]) if validations else None,
            "seconds": round(self.seen["seconds"], 1),
            "device_seconds": files.device_seconds(trainer) if (files := run_files(trainer)) else None,
            "warnings": [*warnings, *([why_none(validations)] if none and not cut_short(trainer) else [])],
        }
        folder.root.mkdir(parents=True, exist_ok=True)
        write_whole(folder.summary, json.dumps(content, indent=1) + "\n")
