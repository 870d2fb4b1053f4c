"""Records as rows: those below a folder, whether they are comparable, which are seeds of one method, the name of a row.

A row is named by the `run` block of its records: the method, with the setting that was swept; below teachers/ where it
is a teacher's. A record without a `run` block, as evaluations of foreign weights and older versions wrote them, is named by
its folder, or the one above where that is a seed's (`seed0`), and the table says so. Where two rows would have
one name, the study is put in front, or as many folders as are needed to distinguish them.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from pathlib import Path

from ard.artifacts.paths import records_below, weights_beside
from ard.artifacts.record import Record
from ard.artifacts.record_file import read_record
from ard.core.errors import UserError
from ard.core.files import sha256
from ard.report.rows import TEACHER_PREFIX, Row, StoredRecord


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
    first, ours = records[0], records[0].record.settings
    for other in records if not mixed else ():
        theirs = other.record.settings
        if differ := [f"{key}: {ours[key]} and {theirs[key]}" for key in ours if theirs[key] != ours[key]]:
            raise UserError(
                f"{first.path} and {other.path} differ in {', in '.join(differ)}; expected comparable records: evaluate "
                "them alike, or add --mixed"
            )
    return [key for key in ours if any(stored.record.settings[key] != ours[key] for stored in records)]


def _check_folds(records: Sequence[StoredRecord]) -> None:
    """Raises UserError where records of one fold of the same data are of other images, or of fewer."""
    seen: dict[tuple[object, ...], StoredRecord] = {}
    for stored in records:
        record = stored.record
        if record.fold is None:
            continue
        other = seen.setdefault((record.dataset.name, record.fold), stored)
        if other.record.n != record.n:
            raise UserError(
                f"{other.path} and {stored.path} are of fold {record.fold}, one of {other.record.n} images, the other of "
                f"{record.n}: expected as many, evaluated with the same --limit"
            )
        if other.record.dataset.digest != record.dataset.digest:
            raise UserError(
                f"{other.path} and {stored.path} are of fold {record.fold}, but of other images: expected the same split"
            )


def group(records: Sequence[StoredRecord]) -> list[Row]:
    """Rows over seeds: teachers first, then by mean worst-case accuracy; those at chance come late, unreliable ones last."""
    taught = {sha256 for stored in records for sha256 in _taught_by(stored.record)}
    teachers = {stored.path for stored in records if _is_teacher(stored.record, taught)}
    shown = {stored.record.weights.sha256: stored.name for stored in records if stored.path in teachers}
    ordered = sorted(records, key=lambda stored: (_order(stored.record), str(stored.path)))
    methods = _by(lambda stored: (stored.path in teachers, stored.name, _experiment(stored)), ordered)
    runs = [part for members in methods for part in _separated(members)]
    names = _names([(f"{TEACHER_PREFIX * (part[0].path in teachers)}{part[0].name}", part) for part in runs])
    rows = [
        Row(name, tuple(part), _teachers_of(part, shown), is_teacher=part[0].path in teachers)
        for name, members in zip(names, runs, strict=True)
        for part in _by(lambda stored: (stored.is_last, *stored.record.settings.values()), members)
    ]
    return sorted(rows, key=_place)


def _place(row: Row) -> tuple[object, ...]:
    """What a row's place among the others depends on, its name last."""
    late = (not row.is_teacher, bool(row.warning), not row.is_above_chance, -row.mean("worst"))
    return *late, row.method, row.is_last, *row.first.settings.values()


def _order(record: Record) -> tuple[int, int]:
    """Folds in their order, those without one first, and the seeds of each."""
    seed, fold = record.repetition
    return -1 if fold is None else fold, seed


def _experiment(stored: StoredRecord) -> Hashable:
    """What runs of one name must share to be its seeds: their study, else their folder, and network and objective."""
    record = stored.record
    alike = re.sub(r"'sha256': '\w+'", "", f"{record.model} {record.recipe}")  # each fold has teachers of its own
    return stored.study or stored.home, alike


def _taught_by(record: Record) -> list[str]:
    """The SHA-256 of every teacher of a run; of a teacher of several, those of its members."""
    named = record.run.teachers if record.run else {}
    one = [] if any(place.startswith("teacher.") for place in named) else [record.teacher]
    return [sha256 for sha256 in dict.fromkeys([*one, *named.values()]) if sha256]


def _is_teacher(record: Record, taught: Collection[str | None]) -> bool:
    """As its study says; without a study, whether another of the records was distilled from these weights."""
    if record.run is not None and (record.run.study is not None or record.run.role == "teacher"):
        return record.run.role == "teacher"
    return record.weights.sha256 is not None and record.weights.sha256 in taught


def _teachers_of(members: Iterable[StoredRecord], shown: dict[str | None, str]) -> str | None:
    """The teachers by the names of their own rows, by hash where they have none; None without a teacher."""
    hashes = [sha256 for stored in members for sha256 in _taught_by(stored.record)]
    return ", ".join(dict.fromkeys(shown.get(sha256, sha256[:8]) for sha256 in hashes)) or None


def _separated(members: Sequence[StoredRecord]) -> list[list[StoredRecord]]:
    """Runs of one name: each evaluation once, and those of each place apart where one seed was found in several."""
    parts = [list(members)]
    for place in (lambda stored: stored.home, lambda stored: stored.folder):
        parts = [piece for part in parts for piece in (_by(place, part) if _repeats_a_seed(_unlike(part)) else [part])]
    return _unlike_parts(parts)


def _unlike(members: Sequence[StoredRecord]) -> list[StoredRecord]:
    """Each evaluation once, of the first place where it lies."""
    unlike: list[StoredRecord] = []
    for stored in members:
        if not _is_among(stored, unlike):
            unlike.append(stored)
    return unlike


def _unlike_parts(parts: Sequence[Sequence[StoredRecord]]) -> list[list[StoredRecord]]:
    """Without the parts of which another one holds every evaluation, too."""
    found: list[list[StoredRecord]] = []
    for part in map(_unlike, parts):
        if not any(all(_is_among(stored, kept) for stored in part) for kept in found):
            found.append(part)
    return found


def _is_among(stored: StoredRecord, others: Sequence[StoredRecord]) -> bool:
    """Whether the same evaluation lies among others."""
    return any(stored.record == other.record for other in others)


def _repeats_a_seed(members: Sequence[StoredRecord]) -> bool:
    keys = Counter((s.record.repetition, s.is_last, *s.record.settings.values()) for s in members)
    return max(keys.values()) > 1


def _by(key: Callable[[StoredRecord], Hashable], members: Sequence[StoredRecord]) -> list[list[StoredRecord]]:
    """Those of one key together, in the order in which they come."""
    parts: dict[Hashable, list[StoredRecord]] = defaultdict(list)
    for stored in members:
        parts[key(stored)].append(stored)
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
