"""Records as rows: which evaluations lie below a directory, whether they compare, which are seeds of one method."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from ard.artifacts.paths import RECORD, RECORDS
from ard.core.errors import UserError
from ard.core.text import radius
from ard.report.content import standalone, warning
from ard.report.places import home, names, parts, seed_of
from ard.report.reading import read_record


@dataclass(frozen=True)
class Record:
    """One file: its content, and what its place says of the method, the seed and the checkpoint."""

    path: Path
    content: dict[str, Any]
    method: str
    seed: int
    clean: np.ndarray  # (n,) booleans: right on the image
    worst: np.ndarray  # (n,) booleans: right on the image and after every attack

    @property
    def is_last(self) -> bool:
        return self.path.name != RECORD

    @property
    def settings(self) -> dict[str, str]:
        """What must agree before two rows may be compared, as a reader would write it."""
        content = self.content
        return {
            "dataset": f"{content['dataset']['name']} ({str(content['dataset']['digest'])[:8]})",
            "split": str(content["split"]),
            "n": str(content["n"]),
            "threat": f"{content['threat']['norm']} {radius(content['threat']['eps'])}",
            "suite": str(content["suite"]),
        }


@dataclass(frozen=True)
class Row:
    """The records of one method and one kind of checkpoint, one a seed, in the order of the seeds."""

    records: tuple[Record, ...]
    teacher: str | None  # as the table names it

    @property
    def method(self) -> str:
        return self.records[0].method

    @property
    def is_last(self) -> bool:
        return self.records[0].is_last

    @property
    def is_teacher(self) -> bool:
        return "teachers" in self.method.split("/")[:-1]

    @property
    def label(self) -> str:
        return f"{self.method} (last)" if self.is_last else self.method

    @property
    def warning(self) -> str:
        """What stands in place of robust numbers that failed a check; empty where they may be shown."""
        return warning(record.content for record in self.records)

    def values(self, key: str) -> list[Any]:
        """A field of the records, one value a seed."""
        return [record.content[key] for record in self.records]

    def accuracies(self, attack: str) -> list[float]:
        """Accuracy after one attack, one value a seed; empty where not every record ran it on its own."""
        return self.numbers(lambda content: standalone(content).get(attack))

    def numbers(self, read: Callable[[dict[str, Any]], float | None]) -> list[float]:
        """What `read` finds in a record, one value a seed; empty where not every record has it."""
        found = [value for record in self.records if (value := read(record.content)) is not None]
        return found if len(found) == len(self.records) else []

    @property
    def autoattack(self) -> list[float]:
        """Accuracy after the whole of AutoAttack, one value a seed; empty where not every record ran it."""
        return self.numbers(lambda content: content.get("autoattack_acc"))

    def bits(self, kind: str, seeds: Collection[int] | None = None) -> np.ndarray:
        """Verdicts "clean" or "worst" (seeds, n) of the seeds asked for."""
        return np.stack([getattr(r, kind) for r in self.records if seeds is None or r.seed in seeds])


def load_records(directories: Sequence[Path]) -> list[Record]:
    """Every record below the directories, each once; raises UserError where one holds none or a file is damaged."""
    found: dict[Path, tuple[Path, int]] = {}  # by resolved path: each file once, as given, and parts of it
    for directory in directories:
        files = sorted(path for name in RECORDS for path in directory.rglob(name))
        if not files:
            raise UserError(f"{directory}: found no {' or '.join(RECORDS)}; expected folders of runs: ard evaluate first")
        for path in files:
            found.setdefault(path.resolve(), (path, parts(path, directory)))
    methods = names({home(resolved): count for resolved, (_, count) in found.items()})
    return [_read(path, methods[home(resolved)]) for resolved, (path, _) in found.items()]


def differing(records: Sequence[Record], *, mixed: bool) -> list[str]:
    """The settings in which records differ; raises UserError naming two such records unless `mixed`."""
    first, found = records[0], []
    for key in first.settings:
        other = next((record for record in records if record.settings[key] != first.settings[key]), None)
        if other and not mixed:
            raise UserError(
                f"{first.path} and {other.path} differ in {key}: {first.settings[key]} and {other.settings[key]}; "
                "expected comparable records: evaluate them alike, or add --mixed"
            )
        found += [key] if other else []
    return found


def group(records: Sequence[Record]) -> list[Row]:
    """Rows over seeds: teachers first, then by mean worst-case accuracy; what cannot be relied on comes last."""
    teachers = {r.content["weights"]["sha256"]: r.method.split("/")[-1] for r in records if Row((r,), None).is_teacher}

    def key(record: Record) -> tuple[Any, ...]:
        return (record.method, record.is_last, *record.settings.values())

    rows = []
    for _, members in groupby(sorted(records, key=lambda r: (*key(r), r.seed)), key):
        same = tuple(members)
        hashes = [record.content["teacher"] for record in same if record.content["teacher"]]
        shown = dict.fromkeys(teachers.get(sha256, sha256[:8]) for sha256 in hashes)
        rows.append(Row(same, ", ".join(shown) or None))
    return sorted(rows, key=lambda row: (not row.is_teacher, bool(row.warning), -np.mean(row.values("robust_acc"))))


def _read(path: Path, method: str) -> Record:
    content, clean, worst = read_record(path)
    seed, trained = seed_of(path), (content["training"] or {}).get("seed")
    return Record(
        path, content, method, (trained if isinstance(trained, int) else 0) if seed is None else seed, clean, worst
    )
