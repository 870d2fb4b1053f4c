"""What the place of a record says: the method is the folder it lies in, or the folder above where that is a seed's."""

import re
from collections import Counter
from pathlib import Path


def home(path: Path) -> Path:
    """The folder of all seeds of the method whose record this is."""
    return path.parent.parent if seed_of(path) is not None else path.parent


def seed_of(path: Path) -> int | None:
    """The seed that a record's folder names: .../seed3/evaluation.json -> 3."""
    number = re.fullmatch(r"seed(\d+)", path.parent.name)
    return int(number[1]) if number else None


def parts(path: Path, directory: Path) -> int:
    """How many last parts of a method's folder name it: those below `directory`, and that it is a teacher's."""
    folder, root = home(path.resolve()), directory.resolve()
    below = len(folder.relative_to(root).parts) if folder.is_relative_to(root) else 0
    return max(below, 2 if folder.parent.name == "teachers" else 1)


def names(counts: dict[Path, int]) -> dict[Path, str]:
    """Folder -> name, of so many parts; equal names in two places are two methods, so the folders above tell them apart."""
    found = {folder: "/".join(folder.parts[-count:]) for folder, count in counts.items()}
    uses = Counter(found.values())
    if max(uses.values()) == 1:
        return found
    return names({folder: count + (uses[found[folder]] > 1) for folder, count in counts.items()})
