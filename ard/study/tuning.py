"""Settings that a study tunes on validation images: what each number came to, and which was taken."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ard.artifacts.metrics import read_summary, read_validations
from ard.artifacts.paths import RunFolder, StudyFolder
from ard.artifacts.typed_json import Fraction, from_tree, parsed, written
from ard.core.errors import UserError
from ard.core.files import or_user_error, small_text, write_whole
from ard.study.resolving import value_at
from ard.study.study_run import StudyRun
from ard.training.selection import selected


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a setting came to on validation images, and the digest of the config that it was tried with."""

    setting: dict[str, float]
    accuracy: Fraction
    config_digest: str


class Tuning:
    """The trials of a study, in its tuning.json and in that of its published results, which outlive the trials' folders.

    Args:
        folders: The study's, and that of its results; what is added is written to both.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.files = [StudyFolder(folder).tuning for folder in folders]
        self._lock = threading.Lock()
        self._known = {(name, trial.config_digest): trial for file in self.files for name, trial in _read(file).items()}

    def accuracy(self, name: str, digest: str) -> float | None:
        """What a trial of this config came to; None where it has yet to run."""
        trial = self._known.get((name, digest))
        return None if trial is None else trial.accuracy

    def has(self, name: str) -> bool:
        """Whether a trial of this name has ended, of whatever config."""
        return any(known == name for known, _ in self._known)

    def add(self, name: str, digest: str, setting: Mapping[str, float], accuracy: float) -> None:
        """Remember a trial that has ended."""
        with self._lock:
            trial = self._known[name, digest] = Trial(setting=dict(setting), accuracy=accuracy, config_digest=digest)
            for file in self.files:
                text = written(dict(sorted((_read(file) | {name: trial}).items())))  # each keeps what it knows of others
                with or_user_error(file):
                    file.parent.mkdir(parents=True, exist_ok=True)
                    write_whole(file, text)


def validation_accuracy(folder: RunFolder, monitor: str) -> float:
    """Of the epoch that a run has selected, on validation images; 0 where none was above chance.

    Raises UserError where the run has left no validation to read.
    """
    validations = read_validations(folder.metrics)
    if not validations:
        raise UserError(f"{folder.metrics} has no validation to read: expected those of the run that has just ended")
    best = selected(validations, monitor)
    return 0.0 if best is None else float(getattr(best, monitor.removeprefix("val/")))


def was_stopped(folder: RunFolder) -> bool:
    """Whether a guard ended the run, such as one whose rate makes it diverge."""
    try:
        return bool(read_summary(folder.summary).get("stopped"))
    except (OSError, ValueError):
        return False


def check_tuned(runs: Sequence[StudyRun], resolved: Mapping[str, dict[str, Any]]) -> None:
    """Raises UserError for a key to tune that is no whole path of the resolved config."""
    for run in runs:
        for key in run.tried:
            try:
                value_at(resolved[run.name], key.split("."))
            except (KeyError, TypeError) as error:
                raise UserError(
                    f"tune {key}: expected the whole path in the config, such as model.init_args.training.lr"
                ) from error


def _read(file: Path) -> dict[str, Trial]:
    if not file.is_file():
        return {}
    try:
        trials: dict[str, Trial] = from_tree(dict[str, Trial], parsed(small_text(file)))
    except (OSError, KeyError, ValueError) as error:
        raise UserError(
            f"{file} is damaged: expected what a study wrote there; move it away, and its trials run again"
        ) from error
    return trials
