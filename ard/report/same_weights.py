"""Runs of a table that are copies of one another: they tell nothing of chance."""

from collections import defaultdict
from collections.abc import Sequence

from ard.core.text import first_few
from ard.report.rows import Row


def same_weights_line(rows: Sequence[Row]) -> str:
    """Which runs have one and the same file of weights, by its SHA-256; empty where none have."""
    found: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for row in rows:
        for record in row.records:
            if record.weights.sha256 is not None:
                found[record.weights.sha256][f"{row.method} ({record.repetition.words})"] = None
    copies = [" = ".join(names) for names in found.values() if len(names) > 1]
    return f"One and the same weights, which are no runs of their own: {first_few(copies)}." if copies else ""
