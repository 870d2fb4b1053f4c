"""Which rows of a table were attacked by more than the others, and so may have a lower worst case by that alone."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import reduce

from ard.artifacts.record import Record
from ard.artifacts.record_parts import AttackResult
from ard.report.rows import Row

TRANSFER = "Transfer"


def attack_sets_line(rows: Sequence[Row]) -> str:
    """The attacks beyond those that every run has, and whose, and those that differ in length; empty where none do."""
    labels, found = [row.label for row in rows], [[_attacks(record) for record in row.records] for row in rows]
    always = [reduce(Counter.__and__, runs) for runs in found]
    at_times = [reduce(Counter.__or__, runs) - those for runs, those in zip(found, always, strict=True)]
    common = reduce(Counter.__and__, always)
    more = _said(labels, [attacks - common for attacks in always])
    said = [f"Attacked by more than the others, with which the worst case may be lower: {more}."] if more else []
    if some := _said(labels, at_times):
        said.append(f"Attacked by more in some of its runs, so that the others may be too high: {some}.")
    return " ".join([*said, *_lengths(rows)])


def _said(labels: Sequence[str], attacks: Sequence[Counter[str]]) -> str:
    """Which attacks are whose: rows of the same ones together."""
    whose: dict[str, list[str]] = {}
    for label, of_row in zip(labels, attacks, strict=True):
        if of_row:
            whose.setdefault(_words(of_row), []).append(label)
    return "; ".join(f"{', '.join(rows)} ({words})" for words, rows in whose.items())


def _attacks(record: Record) -> Counter[str]:
    """Those of the worst case; of transfers only how many, since each row has others."""
    names = (attack.name for attack in record.attacks)
    return Counter(TRANSFER if name.startswith(TRANSFER) else name for name in names)


def _words(attacks: Counter[str]) -> str:
    return ", ".join(f"{count} × {name}" if count > 1 else name for name, count in attacks.items())


def _lengths(rows: Sequence[Row]) -> list[str]:
    """A sentence for each attack that did not take as many steps or queries in every run that says it."""
    found: defaultdict[str, defaultdict[str, dict[str, None]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        for attack in (attack for record in row.records for attack in record.attacks):
            if length := _length(attack):
                found[attack.name][length][row.label] = None
    of = {
        name: [f"{length} ({', '.join(whose)})" for length, whose in by.items()] for name, by in found.items() if len(by) > 1
    }
    return [f"{name} is not as long in all runs: {'; '.join(lengths)}." for name, lengths in of.items()]


def _length(attack: AttackResult) -> str:
    return " and ".join(f"{attack.settings[unit]} {unit}" for unit in ("steps", "queries") if unit in attack.settings)
