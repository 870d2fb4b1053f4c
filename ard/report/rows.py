"""Records as rows: which lie below a folder, whether they compare, which are seeds of one method, what a row is called.

A row is named by what its records say of their run: the method, with the setting that was swept; below teachers/ where it
is a teacher's. A record without a `run` block, as evaluations of foreign weights and older versions wrote them, is named by
the folder it lies in, or the one above where that is a seed's (`seed0`), and the table says so. Where two rows would have
one name, the study stands in front, or as many folders as tell them apart.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ard.artifacts.paths import RECORD, RECORDS
from ard.artifacts.record import Record, read_record, warning_of
from ard.core.errors import UserError

Kind = Literal["clean", "worst"]
TEACHER_PREFIX = "teachers/"  # in front of the name of a teacher's row


@dataclass(frozen=True)
class StoredRecord:
    """A record and the file it was read from."""

    path: Path
    record: Record

    @property
    def home(self) -> Path:
        """The folder of all seeds of a run."""
        folder = self.path.resolve().parent
        return folder.parent if folder.name.removeprefix("seed").isdigit() else folder

    @property
    def name(self) -> str:
        """The method, and what was swept; by the folder where the record does not say."""
        run = self.record.run
        if run is None:
            return self.home.name
        return "-".join([run.method, *(f"{key.rpartition('.')[2]}-{value:g}" for key, value in run.swept.items())])

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
    """The records of one method and one kind of checkpoint, one a seed, in the order of the seeds."""

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
        """What stands in place of robust numbers that failed a check; empty where they may be shown."""
        return warning_of(self.records)

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

    def bits(self, kind: Kind, seeds: Collection[int] | None = None) -> np.ndarray:
        """Verdicts "clean" or "worst" (seeds, n) of the seeds asked for."""
        return np.stack([getattr(r, kind) for r in self.records if seeds is None or r.training_seed in seeds])


def load_records(folders: Sequence[Path]) -> list[StoredRecord]:
    """Every record below the folders, each once; raises UserError where one holds none or a file is damaged."""
    found: dict[Path, Path] = {}  # by resolved path, as given
    for folder in folders:
        files = sorted(path for name in RECORDS for path in folder.rglob(name))
        if not files:
            raise UserError(f"{folder}: found no {' or '.join(RECORDS)}; expected folders of runs: ard evaluate first")
        for path in files:
            found.setdefault(path.resolve(), path)
    return [StoredRecord(path, read_record(path)) for path in found.values()]


def differing(records: Sequence[StoredRecord], *, mixed: bool) -> list[str]:
    """The settings in which records differ; raises UserError naming two such records unless `mixed`."""
    first, found = records[0], []
    ours = first.record.settings
    for key in ours:
        other = next((stored for stored in records if stored.record.settings[key] != ours[key]), None)
        if other and not mixed:
            raise UserError(
                f"{first.path} and {other.path} differ in {key}: {ours[key]} and {other.record.settings[key]}; "
                "expected comparable records: evaluate them alike, or add --mixed"
            )
        found += [key] if other else []
    return found


def group(records: Sequence[StoredRecord]) -> list[Row]:
    """Rows over seeds: teachers first, then by mean worst-case accuracy; what cannot be relied on comes last."""
    taught = {stored.record.teacher for stored in records}
    teachers = {stored.path: _is_teacher(stored.record, taught) for stored in records}
    methods: dict[tuple[object, ...], list[StoredRecord]] = defaultdict(list)
    for stored in sorted(records, key=lambda stored: (stored.record.training_seed, str(stored.path))):
        methods[teachers[stored.path], stored.name, stored.study or stored.home].append(stored)
    runs = [part for members in methods.values() for part in _told_apart(members)]
    names = _names([(f"{TEACHER_PREFIX if teachers[part[0].path] else ''}{part[0].name}", part) for part in runs])
    shown = {s.record.weights.sha256: s.name for s in records if teachers[s.path]}
    rows = []
    for name, members in zip(names, runs, strict=True):
        kinds: dict[tuple[object, ...], list[StoredRecord]] = defaultdict(list)
        for stored in members:
            kinds[stored.is_last, *stored.record.settings.values()].append(stored)
        rows += [Row(name, tuple(part), _teachers_of(part, shown), teachers[part[0].path]) for part in kinds.values()]
    rows.sort(key=lambda row: (row.method, row.is_last, *row.first.settings.values()))
    return sorted(rows, key=lambda row: (not row.is_teacher, bool(row.warning), -row.mean("worst")))


def _is_teacher(record: Record, taught: Collection[str | None]) -> bool:
    """What its study says; without a study, whether another of the records was distilled from these weights."""
    if record.run is not None and (record.run.study is not None or record.run.role == "teacher"):
        return record.run.role == "teacher"
    return record.weights.sha256 is not None and record.weights.sha256 in taught


def _teachers_of(members: Iterable[StoredRecord], shown: dict[str | None, str]) -> str | None:
    """The teachers by the names of their own rows, by hash where they have none; None without a teacher."""
    hashes = [stored.record.teacher for stored in members if stored.record.teacher]
    return ", ".join(dict.fromkeys(shown.get(sha256, sha256[:8]) for sha256 in hashes)) or None


def _told_apart(members: list[StoredRecord]) -> list[list[StoredRecord]]:
    """Runs of one name: those of one folder each where the same seed was found twice, one record for each evaluation."""
    unlike: list[StoredRecord] = []
    for stored in members:
        if not any(stored.record == other.record for other in unlike):
            unlike.append(stored)
    seeds = Counter((s.record.training_seed, s.is_last, *s.record.settings.values()) for s in unlike)
    if max(seeds.values()) == 1:
        return [unlike]
    homes: dict[Path, list[StoredRecord]] = defaultdict(list)
    for stored in unlike:
        homes[stored.home].append(stored)
    return list(homes.values())


def _names(runs: Sequence[tuple[str, list[StoredRecord]]]) -> list[str]:
    """A name of its own for each run: behind its study, or behind its folders, where two would have the same."""
    uses = Counter(name for name, _ in runs)
    studies = Counter((name, members[0].study) for name, members in runs)
    names = []
    for name, members in runs:
        study, home = members[0].study, members[0].home
        if uses[name] > 1 and study is not None and studies[name, study] == 1:
            name = f"{study}/{name}"
        elif uses[name] > 1:
            others = [other[0].home for key, other in runs if key == name and other is not members]
            name = f"{_folders(home, others)}/{name}"
        names.append(name)
    return names


def _folders(home: Path, others: Sequence[Path]) -> str:
    """As many folders above `home`, from its own up, as the others do not share."""
    above = home.parent.parts
    for count in range(1, len(above)):
        if all(other.parent.parts[-count:] != above[-count:] for other in others):
            return "/".join(above[-count:])
    return str(home)
