"""Records as rows: those below a folder, whether they are comparable, which are seeds of one method, the name of a row.

A row is named by the `run` block of its records: the method, with the setting that was swept; below teachers/ where it
is a teacher's. A record without a `run` block, as evaluations of foreign weights and older versions wrote them, is named by
its folder, or the one above where that is a seed's (`seed0`), and the table says so. Where two rows would have
one name, the study is put in front, or as many folders as are needed to distinguish them.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from ard.artifacts.paths import RECORD, records_below, weights_beside
from ard.artifacts.record import Record, Repetition, warning_of
from ard.artifacts.record_file import read_record
from ard.artifacts.record_parts import Overall
from ard.core.errors import UserError
from ard.core.files import sha256

Kind = Literal["clean", "worst"]
TEACHER_PREFIX = "teachers/"  # in front of the name of a teacher's row


@dataclass(frozen=True)
class StoredRecord:
    """A record and the file it was read from."""

    path: Path
    record: Record
    is_stale: bool = False  # of other weights than those that lie beside it now

    @property
    def folder(self) -> Path:
        """Its folder."""
        return self.path.resolve().parent

    @property
    def home(self) -> Path:
        """The folder of all seeds and folds of a run."""
        folder = self.folder
        for word in ("seed", "fold"):
            folder = folder.parent if folder.name.removeprefix(word).isdigit() else folder
        return folder

    @property
    def name(self) -> str:
        """The method, what was swept, and first how its start was pruned; by the folder where the record does not say."""
        run = self.record.run
        if run is None:
            return self.home.name
        start = [self.record.pruned.words, "then"] if self.record.pruned else []
        return "-".join([*start, run.method, *(f"{key.rpartition('.')[2]}-{value:g}" for key, value in run.swept.items())])

    @property
    def is_last(self) -> bool:
        """Of the last epoch; by the file's name where nothing is known of the training."""
        record = self.record
        return record.is_last if record.run or record.training else self.path.name != RECORD

    @property
    def study(self) -> str | None:
        """The study that trained it."""
        return self.record.run.study if self.record.run else None


@dataclass(frozen=True)
class Row:
    """The records of one method and one kind of checkpoint, one a run, in the order of folds and seeds."""

    method: str
    members: tuple[StoredRecord, ...]
    teacher: str | None  # as the table names it
    is_teacher: bool

    @property
    def records(self) -> list[Record]:
        return [member.record for member in self.members]

    @property
    def first(self) -> Record:
        """The record of the first seed."""
        return self.members[0].record

    @property
    def is_last(self) -> bool:
        """Of the last epoch, not of the selected one."""
        return self.members[0].is_last

    @property
    def is_named_by_folder(self) -> bool:
        """Its records do not say which run they are of."""
        return self.first.run is None

    @property
    def label(self) -> str:
        return f"{self.method} (last)" if self.is_last else self.method

    @property
    def warning(self) -> str:
        """The text shown in place of robust numbers where a check failed; empty where none did."""
        return warning_of(self.records)

    @property
    def is_above_chance(self) -> bool:
        """Whether every seed does more than name one class; else no attack may hurt it, and the row is never the best."""
        return all(record.is_above_chance for record in self.records)

    @property
    def word(self) -> Overall:
        """The verdict of the seed that has the worst."""
        return max((record.word for record in self.records), key=get_args(Overall).index)

    def accuracies(self, kind: Kind) -> list[float]:
        """One a seed."""
        return [record.clean_acc if kind == "clean" else record.robust_acc for record in self.records]

    def mean(self, kind: Kind) -> float:
        """Over the seeds."""
        return float(np.mean(self.accuracies(kind)))

    def numbers(self, read: Callable[[Record], float | None]) -> list[float]:
        """What `read` finds in a record, one value a seed; empty where not every record has it."""
        known = [value for record in self.records if (value := read(record)) is not None]
        return known if len(known) == len(self.records) else []

    def bits(self, kind: Kind, runs: Collection[Repetition]) -> np.ndarray:
        """Verdicts "clean" or "worst" (runs, n) of the runs asked for, all of one fold."""
        return np.stack([getattr(record, kind) for record in self.records if record.repetition in runs])

    @property
    def n(self) -> int:
        """Test images, over all folds."""
        return sum({record.fold: record.n for record in self.records}.values())

    @property
    def folds(self) -> int:
        """Of how many folds its records are; 1 for the data set's own test split."""
        return len({record.fold for record in self.records})

    def by_fold(self, values: Sequence[float]) -> list[float]:
        """Of one number a run the mean of each fold, whose runs share images and teacher; without folds the numbers."""
        if self.folds == 1:
            return list(values)
        folds: dict[int | None, list[float]] = defaultdict(list)
        for record, value in zip(self.records, values, strict=True):
            folds[record.fold].append(value)
        return [float(np.mean(part)) for part in folds.values()]

    @property
    def seeds(self) -> int:
        """How many seeds, of each fold."""
        return len(self.records) if self.folds == 1 else len({record.training_seed for record in self.records})

    @property
    def repeats(self) -> str:
        """How many seeds, and of how many folds."""
        return str(self.seeds) if self.folds == 1 else f"{self.seeds} × {self.folds} folds"


def load_records(folders: Sequence[Path]) -> list[StoredRecord]:
    """Every record below the folders, each once; raises UserError where one holds none or a file is damaged."""
    paths: dict[Path, Path] = {}  # by resolved path, as given
    for folder in folders:
        for path in records_below(folder):
            paths.setdefault(path.resolve(), path)
    return [stored_record(path) for path in paths.values()]


def stored_record(path: Path) -> StoredRecord:
    """A record, and whether the weights beside it, where there are any, are those that were evaluated."""
    record, files = read_record(path), weights_beside(path)
    evaluated = record.weights.sha256
    is_stale = bool(files) and evaluated is not None and evaluated not in map(sha256, files)
    return StoredRecord(path, record, is_stale)


def differing(records: Sequence[StoredRecord], *, mixed: bool) -> list[str]:
    """The settings in which records differ; raises UserError naming two such records unless `mixed`."""
    _check_folds(records)
    first, keys = records[0], []
    ours = first.record.settings
    for key in ours:
        other = next((stored for stored in records if stored.record.settings[key] != ours[key]), None)
        if other and not mixed:
            raise UserError(
                f"{first.path} and {other.path} differ in {key}: {ours[key]} and {other.record.settings[key]}; "
                "expected comparable records: evaluate them alike, or add --mixed"
            )
        keys += [key] if other else []
    return keys


def _check_folds(records: Sequence[StoredRecord]) -> None:
    """Raises UserError where records of one fold of the same data are of other images."""
    seen: dict[tuple[object, ...], StoredRecord] = {}
    for stored in records:
        record = stored.record
        if record.fold is None:
            continue
        other = seen.setdefault((record.dataset.name, record.fold, record.n), stored)
        if other.record.dataset.digest != record.dataset.digest:
            raise UserError(
                f"{other.path} and {stored.path} are of fold {record.fold}, but of other images: expected the same split"
            )


def group(records: Sequence[StoredRecord]) -> list[Row]:
    """Rows over seeds: teachers first, then by mean worst-case accuracy; those at chance come late, unreliable ones last."""
    taught = {stored.record.teacher for stored in records}
    teachers = {stored.path: _is_teacher(stored.record, taught) for stored in records}
    methods: dict[tuple[object, ...], list[StoredRecord]] = defaultdict(list)
    for stored in sorted(records, key=lambda stored: (_order(stored.record), str(stored.path))):
        methods[teachers[stored.path], stored.name, stored.study or stored.home].append(stored)
    runs = [part for members in methods.values() for part in _separated(members)]
    names = _names([(f"{TEACHER_PREFIX if teachers[part[0].path] else ''}{part[0].name}", part) for part in runs])
    shown = {s.record.weights.sha256: s.name for s in records if teachers[s.path]}
    rows = []
    for name, members in zip(names, runs, strict=True):
        kinds: dict[tuple[object, ...], list[StoredRecord]] = defaultdict(list)
        for stored in members:
            kinds[stored.is_last, *stored.record.settings.values()].append(stored)
        rows += [Row(name, tuple(part), _teachers_of(part, shown), teachers[part[0].path]) for part in kinds.values()]
    rows.sort(key=lambda row: (row.method, row.is_last, *row.first.settings.values()))
    return sorted(rows, key=lambda row: (not row.is_teacher, bool(row.warning), not row.is_above_chance, -row.mean("worst")))


def _order(record: Record) -> tuple[int, int]:
    """Folds in their order, those without one first, and the seeds of each."""
    seed, fold = record.repetition
    return -1 if fold is None else fold, seed


def _is_teacher(record: Record, taught: Collection[str | None]) -> bool:
    """As its study says; without a study, whether another of the records was distilled from these weights."""
    if record.run is not None and (record.run.study is not None or record.run.role == "teacher"):
        return record.run.role == "teacher"
    return record.weights.sha256 is not None and record.weights.sha256 in taught


def _teachers_of(members: Iterable[StoredRecord], shown: dict[str | None, str]) -> str | None:
    """The teachers by the names of their own rows, by hash where they have none; None without a teacher."""
    hashes = [stored.record.teacher for stored in members if stored.record.teacher]
    return ", ".join(dict.fromkeys(shown.get(sha256, sha256[:8]) for sha256 in hashes)) or None


def _separated(members: Sequence[StoredRecord]) -> list[list[StoredRecord]]:
    """Runs of one name: each evaluation once, and those of each place apart where one seed was found in several."""
    unlike: list[StoredRecord] = []
    for stored in members:
        if not any(stored.record == other.record for other in unlike):
            unlike.append(stored)
    parts = [unlike]
    for place in (lambda stored: stored.home, lambda stored: stored.folder):
        parts = [piece for part in parts for piece in (_by(place, part) if _repeats_a_seed(part) else [part])]
    return parts


def _repeats_a_seed(members: Sequence[StoredRecord]) -> bool:
    keys = Counter((s.record.repetition, s.is_last, *s.record.settings.values()) for s in members)
    return max(keys.values()) > 1


def _by(place: Callable[[StoredRecord], Path], members: Sequence[StoredRecord]) -> list[list[StoredRecord]]:
    parts: dict[Path, list[StoredRecord]] = defaultdict(list)
    for stored in members:
        parts[place(stored)].append(stored)
    return list(parts.values())


def _names(runs: Sequence[tuple[str, list[StoredRecord]]]) -> list[str]:
    """A name of its own for each run: behind its study, or behind its folders, where two would have the same."""
    studies = Counter((name, members[0].study) for name, members in runs)
    names = []
    for name, members in runs:
        rivals = [other[0] for key, other in runs if key == name and other is not members]
        first, study = members[0], members[0].study
        if rivals:
            by_study = study is not None and studies[name, study] == 1
            name = f"{study if by_study else _folders(name, first, rivals)}/{name}"
        names.append(name)
    return names


def _folders(name: str, stored: StoredRecord, rivals: Sequence[StoredRecord]) -> str:
    """As many folders, from the last one up that is not the name itself, as the others do not share."""
    same_home = any(rival.home == stored.home for rival in rivals)
    here, *elsewhere = (_above(name, one.folder if same_home else one.home) for one in (stored, *rivals))
    for count in range(1, len(here)):
        if all(other[-count:] != here[-count:] for other in elsewhere):
            return "/".join(here[-count:])
    return str(stored.folder)


def _above(name: str, home: Path) -> tuple[str, ...]:
    """The parts of a folder without the last ones that a name begins anew."""
    parts = list(home.parts)
    for own in reversed(name.split("/")):
        if parts[-1] != own:
            break
        parts.pop()
    return tuple(parts)
