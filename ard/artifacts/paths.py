"""The paths of files: the names of everything in a run's folder, beside a record and in a study's folder."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from ard.core.errors import UserError
from ard.core.files import SUFFIXES
from ard.core.text import first_few
from ard.core.user_paths import written_out

LAST, BEST, PREVIOUS = "last", "best", "previous"  # the checkpoints of a run
STUDENT = "student"  # the weights of the checkpoint that was selected
RECORD = "evaluation.json"
CLAIM = "claim.json"  # in a folder of adversarial images: what they prove, and a digest of them
REPORT = "report.html"  # the page of a run and of a study
TRIALS = "tuning"  # below a study, the folder of runs that choose its settings
REPLACED = ".replaced"  # ends the name of a folder of runs that others took the place of
RECORDS = (RECORD, f"{LAST}.{RECORD}")  # of the two files of weights that a run leaves


@dataclass(frozen=True)
class RunFolder:
    """The folder of one training run."""

    root: Path

    @classmethod
    def of(cls, root: str | Path) -> "RunFolder":
        """Of a path as a trainer or a command line names it; raises UserError for '', which would be the current folder."""
        if root == "":
            raise UserError("'' names no folder: expected one, or leave it out")
        return cls(Path(written_out(str(root))))

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.root / "config.yaml"

    @property
    def name(self) -> Path:
        """The name of the run: study, method, role and the setting that was swept."""
        return self.root / "run.json"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.csv"

    @property
    def summary(self) -> Path:
        """What was trained, how good it became, and what was warned of."""
        return self.root / "summary.json"

    @property
    def crash(self) -> Path:
        """The step whose loss or gradient was not finite."""
        return self.root / "crash.json"

    @property
    def log(self) -> Path:
        """What the processes of a study printed."""
        return self.root / "log.txt"

    @property
    def report(self) -> Path:
        """The page that shows the run."""
        return self.root / REPORT

    @property
    def begun(self) -> Path:
        """The digest of the configuration with which a study began the run."""
        return self.root / "digest.txt"

    @property
    def last(self) -> Path:
        return self.checkpoint(LAST)

    @property
    def best(self) -> Path:
        return self.checkpoint(BEST)

    @property
    def previous(self) -> Path:
        return self.checkpoint(PREVIOUS)

    def checkpoint(self, name: str) -> Path:
        """The file of the checkpoint `last`, `best` or `previous`."""
        return self.root / f"{name}.ckpt"

    @property
    def checkpoints(self) -> list[Path]:
        """Every checkpoint in the folder."""
        return sorted(self.root.glob("*.ckpt"))

    def weights(self, name: str = STUDENT) -> Path:
        """The weights `student` (of the selected epoch) or `last`."""
        return self.root / f"{name}.safetensors"

    @property
    def records(self) -> list[Path]:
        """Where the records of both files of weights belong."""
        return [record_of(self.weights(name)) for name in (STUDENT, LAST)]


@dataclass(frozen=True)
class RecordFiles:
    """A record and what `ard evaluate` writes beside it."""

    record: Path

    @property
    def page(self) -> Path:
        """The evidence card."""
        return self.record.with_suffix(".md")

    @property
    def robustbench(self) -> Path:
        return self.record.with_suffix(".robustbench.json")

    @property
    def model_card(self) -> Path:
        """README.md of a model's repository, as `ard report --model-card` writes it."""
        return self.record.with_suffix(".model_card.md")

    @property
    def curve(self) -> Path:
        """The picture of accuracy against radius."""
        return self.record.with_suffix(".curve.png")

    @property
    def adversarial(self) -> Path:
        """The worst image of each image."""
        return self.record.with_suffix(".adversarial.safetensors")

    @property
    def adversarial_pngs(self) -> Path:
        """The same of an evaluation with images of 8 bits: a folder."""
        return self.record.with_suffix(".adversarial")

    @property
    def shown(self) -> Path:
        """What can be looked at beyond the record: confusion of classes, a few images and what the attack added to them."""
        return self.record.with_suffix(".shown.safetensors")

    def blocks(self, key: str) -> Path:
        """The folder in which an unfinished evaluation waits for those who continue it."""
        return self.record.with_name(f".{self.record.stem}.{key}.blocks")


@dataclass(frozen=True)
class StudyFolder:
    """The folder in which a study trains, or the one where its results are published."""

    root: Path

    def run(self, name: str) -> RunFolder:
        """The folder of a run by its name in the study, such as ard/seed0 or teachers/robust."""
        return RunFolder(self.root / name)

    def aside(self, name: str) -> Path:
        """Where a run is moved that another one replaces: beside the study, so that it is in none of its tables."""
        first = self.root.with_name(f"{self.root.name}{REPLACED}") / name
        names = chain([first], (first.with_name(f"{first.name}-{number}") for number in count(2)))
        return next(path for path in names if not path.exists())

    @property
    def tuning(self) -> Path:
        """What the trials of tuned settings came to."""
        return self.root / "tuning.json"

    @property
    def table(self) -> Path:
        return self.root / "table.md"

    @property
    def table_csv(self) -> Path:
        return self.root / "table.csv"

    @property
    def report(self) -> Path:
        """The page that shows all runs, and leads to theirs."""
        return self.root / REPORT

    def picture(self, name: str, kind: str = "png") -> Path:
        return self.root / f"{name}.{kind}"


def record_of(weights: str | Path) -> Path:
    """Where the record of a file of weights belongs: beside it.

    student.safetensors -> evaluation.json, other.safetensors -> other.evaluation.json.
    """
    path = Path(weights)
    return path.with_name(RECORD if path.stem == STUDENT else f"{path.stem}.{RECORD}")


def weights_beside(record: Path) -> list[Path]:
    """The files of weights whose record belongs here, as far as they are still there."""
    stem = STUDENT if record.name == RECORD else record.name.removesuffix(f".{RECORD}")
    return [file for suffix in SUFFIXES if os.path.isfile(file := record.with_name(f"{stem}{suffix}"))]


def digest_beside(path: Path) -> Path:
    """The file that holds the SHA-256 of a checkpoint."""
    return path.with_name(f"{path.name}.sha256")


def weights_file(path: str | Path) -> str:
    """The file of weights that a path names: of a run's folder the student that was selected, else the path as it is."""
    named: str = written_out(str(path))
    if not named:
        return named
    student = RunFolder.of(named).weights()
    return student.as_posix() if os.path.isfile(student) else named


def run_home(folder: Path) -> Path:
    """The folder of all seeds and folds of the run in a folder: ard of ard/fold0/seed1."""
    for word in ("seed", "fold"):
        if folder.name.startswith(word) and folder.name.removeprefix(word).isdigit():
            folder = folder.parent
    return folder


def runs_without_record(folder: Path) -> list[Path]:
    """The folders at or below one in which a run has trained, and nothing has been evaluated; without trials of settings."""
    run = RunFolder(folder)
    trained = {file.parent for file in _files_below(folder, run.metrics.name, run.weights().name)}
    trained = {path for path in trained if TRIALS not in path.relative_to(folder).parts}
    return sorted(path for path in trained if not any(record.is_file() for record in RunFolder(path).records))


def records_below(folder: Path) -> list[Path]:
    """Every record below a folder of runs; raises UserError where there is none."""
    if folder.is_file():
        raise UserError(f"{folder} is a file: expected the folder of a run, such as {folder.parent}")
    files = sorted(_files_below(folder, *RECORDS))
    if not files:
        names = [path.name for path in sorted(folder.glob(f"*.{RECORD}"))]
        way = f"but {first_few(names)}: name those weights student or last" if names else "expected folders of runs"
        raise UserError(f"{folder}: found no {' or '.join(RECORDS)}; {way}: ard evaluate first")
    return files


def _files_below(folder: Path, *names: str) -> Iterator[Path]:
    """The files of these names, without runs that a study moved aside; a closed folder is an error, and not empty.

    Links to folders are followed, as runs may lie on another disk, but no folder is entered twice.
    """
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, onerror=_refuse_what_is_closed, followlinks=True):
        if (real := os.path.realpath(place)) in seen:
            folders.clear()
            continue
        seen.add(real)
        kept = [one for one in folders if not one.endswith(REPLACED)]
        folders[:] = sorted(kept, key=lambda name: Path(place, name).is_symlink())  # what lies here is called as it is here
        yield from (Path(place, name) for name in names if name in files or name in folders)


def _refuse_what_is_closed(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise UserError(f"{error.filename}: cannot be read ({error.strerror}); expected a folder that this user may read")
