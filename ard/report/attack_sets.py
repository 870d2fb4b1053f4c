"""Which rows were attacked by more than the others: their worst case is over more attacks, so lower than theirs would be."""

from collections import Counter
from collections.abc import Sequence
from functools import reduce

from ard.artifacts.record import Record
from ard.report.rows import Row

TRANSFER = "Transfer"


def attack_sets_line(rows: Sequence[Row]) -> str:
    """The attacks beyond those that every row has, and whose; empty where all rows have the same."""
    attacks = [reduce(Counter.__or__, map(_attacks, row.records)) for row in rows]
    common = reduce(Counter.__and__, attacks)
    more = {row.label: _words(found - common) for row, found in zip(rows, attacks, strict=True) if found - common}
    said = [
        f"{', '.join(label for label in more if more[label] == extra)} ({extra})" for extra in dict.fromkeys(more.values())
    ]
    return f"Attacked by more than the others, with which the worst case may be lower: {'; '.join(said)}." if said else ""


def _attacks(record: Record) -> Counter[str]:
    """Those of the worst case; of transfers only how many, since each row has others."""
    names = (attack.name for attack in record.attacks)
    return Counter(TRANSFER if name.startswith(TRANSFER) else name for name in names)


def _words(attacks: Counter[str]) -> str:
    return ", ".join(f"{count} × {name}" if count > 1 else name for name, count in attacks.items())
