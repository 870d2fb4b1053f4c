"""Which rows were attacked by more than the others: their worst case is over more attacks, so lower than theirs would be."""

from collections import Counter
from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

from ard.artifacts.record import Record
from ard.artifacts.record_parts import AttackResult
from ard.report.rows import Row

TRANSFER = "Transfer"


class Tried(NamedTuple):
    """An attack by its name, and with how many steps or queries where it says so."""

    name: str
    length: str


Attacks = Counter[Tried]


def attack_sets_line(rows: Sequence[Row]) -> str:
    """The attacks beyond those that every run has, and whose; empty where all runs have the same."""
    labels, found = [row.label for row in rows], [[_attacks(record) for record in row.records] for row in rows]
    always = [reduce(Counter.__and__, runs) for runs in found]
    at_times = [reduce(Counter.__or__, runs) - those for runs, those in zip(found, always, strict=True)]
    common = reduce(Counter.__and__, always)
    more = _said(labels, [attacks - common for attacks in always])
    said = [f"Attacked by more than the others, with which the worst case may be lower: {more}."] if more else []
    if some := _said(labels, at_times):
        said.append(f"Attacked by more in some of its runs, so that the others may be too high: {some}.")
    return " ".join(said)


def _said(labels: Sequence[str], attacks: Sequence[Attacks]) -> str:
    """Which attacks are whose: rows of the same ones together."""
    lengths = Counter(tried.name for tried in {tried for of_row in attacks for tried in of_row})
    whose: dict[str, list[str]] = {}
    for label, of_row in zip(labels, attacks, strict=True):
        if of_row:
            whose.setdefault(_words(of_row, lengths), []).append(label)
    return "; ".join(f"{', '.join(rows)} ({words})" for words, rows in whose.items())


def _attacks(record: Record) -> Attacks:
    """Those of the worst case; of transfers only how many, since each row has others."""
    return Counter(map(_tried, record.attacks))


def _tried(attack: AttackResult) -> Tried:
    if attack.name.startswith(TRANSFER):
        return Tried(TRANSFER, "")
    lengths = [f"{attack.settings[unit]} {unit}" for unit in ("steps", "queries") if unit in attack.settings]
    return Tried(attack.name, " and ".join(lengths))


def _words(attacks: Attacks, lengths: Counter[str]) -> str:
    """Names, of those that stand for attacks of several lengths with these."""
    named = [(count, f"{name} of {length}" if lengths[name] > 1 else name) for (name, length), count in attacks.items()]
    return ", ".join(f"{count} × {name}" if count > 1 else name for count, name in named)
