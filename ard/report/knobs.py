"""Knobs: a number of a method that was swept, and the rows of its values."""

from collections.abc import Sequence
from dataclasses import dataclass

from ard.report.differences import students
from ard.report.rows import Row


@dataclass(frozen=True)
class Knob:
    """A method with one of its numbers swept in one study, and measured alike: its rows by that number, in its order.

    `method` and `name` say more than usual where two knobs would be called the same.
    """

    method: str
    name: str
    rows: tuple[tuple[float, Row], ...]

    @property
    def label(self) -> str:
        return f"{self.method} ({self.name})"


@dataclass(frozen=True, order=True)
class _Key:
    """What the rows of a knob share."""

    method: str
    name: str
    study: str
    key: str
    settings: tuple[tuple[str, str], ...]


def knobs_of(rows: Sequence[Row], *, least: int = 3) -> list[Knob]:
    """Every knob that at least so many reliable students were trained with."""
    groups: dict[_Key, list[tuple[float, Row]]] = {}
    for row in students(rows):
        run = row.first.run
        if run is not None and len(run.swept) == 1 and not row.warning:
            ((key, value),) = run.swept.items()
            settings = tuple(row.first.settings.items())
            of = _Key(row.members[0].method, key.rpartition(".")[2], run.study or "", key, settings)
            groups.setdefault(of, []).append((value, row))
    found = {of: swept for of, swept in sorted(groups.items(), key=lambda item: item[0]) if len(swept) >= least}
    return [Knob(*_words(of, list(found)), tuple(sorted(swept, key=lambda pair: pair[0]))) for of, swept in found.items()]


def _words(of: _Key, keys: Sequence[_Key]) -> tuple[str, str]:
    """A knob's method and name: with study, settings and the whole key where another knob of the same words has others."""
    alike = [other for other in keys if (other.method, other.name) == (of.method, of.name)]
    in_front = of.study and any(other.study != of.study for other in alike)
    said = [value for key, value in of.settings if any((key, value) not in other.settings for other in alike)]
    whole = any(other.key != of.key for other in alike)
    method = f"{of.study}/{of.method}" if in_front else of.method
    return ", ".join([method, *said]), of.key if whole else of.name
