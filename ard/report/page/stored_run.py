"""Everything that lies in the folder of a run, as far as it is there and whole."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ard.artifacts.diagnosis import Diagnosis, diagnosis_of, read_diagnosis
from ard.artifacts.metrics import read_metrics, read_summary
from ard.artifacts.paths import RECORD, RECORDS, RecordFiles, RunFolder, weights_beside
from ard.artifacts.record import Record
from ard.artifacts.shown import Shown, read_shown
from ard.core.errors import UserError
from ard.core.files import small_text
from ard.report.grouping import stored_record
from ard.report.rows import StoredRecord

T = TypeVar("T")


@dataclass(frozen=True)
class StoredRun:
    """The files of one run; the first record is that of the selected weights where there is one.

    `missing` has a sentence for everything that the page leaves out, and why.
    """

    folder: RunFolder
    records: list[StoredRecord]
    metrics: list[dict[str, str]]
    summary: dict[str, Any]
    config: str
    shown: Shown | None
    diagnosis: Diagnosis | None
    missing: list[str] = field(default_factory=list)

    @property
    def first(self) -> StoredRecord | None:
        return self.records[0] if self.records else None

    @property
    def record(self) -> Record | None:
        """That of the selected weights, or the only one."""
        return self.records[0].record if self.records else None

    @property
    def warning(self) -> str:
        """What stands in place of robust numbers where a check failed in the record."""
        return self.record.warning if self.record else ""

    @property
    def selected_epoch(self) -> int | None:
        """The epoch of the weights, counted from 0."""
        if self.record is not None and self.record.training is not None:
            return self.record.training.epoch
        best = self.summary.get("best")
        epoch = best.get("epoch") if isinstance(best, dict) else None
        return epoch if isinstance(epoch, int) else None


def is_run(folder: Path) -> bool:
    """Whether a run or an evaluation left something in this very folder."""
    run = RunFolder(folder)
    files = (run.metrics, run.summary, run.weights())
    return any(file.is_file() for file in files) or bool(_record_files(folder))


def load_run(folder: Path) -> StoredRun:
    """What is in the folder; raises UserError where a record is damaged: other files that are become a sentence."""
    run, missing = RunFolder(folder), list[str]()
    records = [stored_record(path) for path in _record_files(folder)]
    first = records[0] if records else None
    if first is None:
        missing.append("Nothing has been evaluated: no evaluation.json, which `ard evaluate` writes.")
    elif not weights_beside(first.path):
        missing.append("The weights are not here, so nobody can see whether the record is theirs.")
    return StoredRun(
        folder=run,
        records=records,
        metrics=_metrics(run, missing),
        summary=_summary(run, missing),
        config=_config(run, first, missing),
        shown=_shown(first, missing),
        diagnosis=_diagnosis(first, run, missing),
        missing=missing,
    )


def _record_files(folder: Path) -> list[Path]:
    """The records in the folder, those of a run's two files of weights first."""
    others = sorted(path for path in folder.glob(f"*.{RECORD}") if path.name not in RECORDS)
    return [path for path in (*(folder / name for name in RECORDS), *others) if path.is_file()]


def _metrics(run: RunFolder, missing: list[str]) -> list[dict[str, str]]:
    rows = _whole(lambda: read_metrics(run.metrics), missing) or []
    if not rows and not run.metrics.is_file():
        missing.append("No learning curves: metrics.csv is not here.")
    return rows


def _summary(run: RunFolder, missing: list[str]) -> dict[str, Any]:
    if not run.summary.is_file():
        return {}
    try:
        return read_summary(run.summary)
    except (OSError, ValueError) as error:
        missing.append(f"summary.json is damaged ({error}).")
        return {}


def _config(run: RunFolder, first: StoredRecord | None, missing: list[str]) -> str:
    """As it was resolved; from the record where only that has it."""
    try:
        return small_text(run.config)
    except (OSError, ValueError):
        training = first.record.training if first else None
        if training is not None and training.config is not None:
            return str(yaml.safe_dump(training.config, sort_keys=False))
        missing.append("No configuration: config.yaml is not here.")
        return ""


def _shown(first: StoredRecord | None, missing: list[str]) -> Shown | None:
    if first is None:
        return None
    path = RecordFiles(first.path).shown
    if not path.exists():
        missing.append(f"No confusion of classes and no images: {path.name} is not here; `ard evaluate` writes it now.")
        return None
    shown = _whole(lambda: read_shown(path), missing)
    if shown is not None and not shown.is_of(first.record):
        missing.append(f"No confusion of classes and no images: {path.name} is of another evaluation.")
        return None
    return shown


def _diagnosis(first: StoredRecord | None, run: RunFolder, missing: list[str]) -> Diagnosis | None:
    path = diagnosis_of(first.path if first else run.records[0])
    if not path.exists():
        missing.append(f"No diagnosis: {path.name} is not here; `ard diagnose` writes it.")
        return None
    diagnosis = _whole(lambda: read_diagnosis(path), missing)
    if diagnosis and first and diagnosis.weights.sha256 != first.record.weights.sha256:
        missing.append(f"No diagnosis: {path.name} is of other weights than the record.")
        return None
    return diagnosis


def _whole(read: Callable[[], T], missing: list[str]) -> T | None:
    """What is read; None where it is damaged, with the reason among what is missing."""
    try:
        return read()
    except UserError as error:
        missing.append(f"Left out: {error}.")
        return None
