"""Trees of mappings and lists in files of anybody: how deep and how large one may be."""

from typing import Any

MOST_LEVELS = 50  # records have 6, configs 7, cards as many as networks are inside one another
MOST_VALUES = 10**6  # a record has a few thousand


def check_size(tree: Any, most: int = MOST_VALUES) -> None:
    """Raises ValueError for a tree that is deeper or larger than any of ours; one with aliases may contain itself."""
    level, count = [tree], 0
    for _ in range(MOST_LEVELS):
        branches = [
            part.values() if isinstance(part, dict) else part
            for part in level
            if isinstance(part, dict | list | tuple | set)
        ]
        count += sum(map(len, branches))
        if count > most:
            raise ValueError(f"more than {most:,} values")
        level = [part for branch in branches for part in branch]
        if not level:
            return
    raise ValueError(f"nested deeper than {MOST_LEVELS}")
