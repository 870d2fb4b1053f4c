"""The classes of ard that a config may name, found in its packages; read from their source, without torch."""

import ast

from ard.cli.source_keys import class_node, class_source, names_of
from ard.core.text import first_sentence

# Group -> the class that those of its package descend from; networks have no such class, they take `num_classes`.
GROUPS = {"data": "DataModule", "models": None, "attacks": "Attack"}


def known_classes(group: str) -> dict[str, str]:
    """The names of a group's classes, and the first sentence of what each says of itself."""
    return classes_of(f"ard.{group}", GROUPS[group])


def classes_of(package: str, parent: str | None) -> dict[str, str]:
    """Those that a package shows and that descend from one of its classes; without one, those that take `num_classes`."""
    found = {}
    for name in sorted(names_of(package)):
        class_path = f"{package}.{name}"
        source = class_source(class_path)
        if source and (_descends(class_path, parent) if parent else "num_classes" in source.keys):
            found[name] = _about(class_path)
    return found


def _descends(class_path: str, parent: str) -> bool:
    found = class_node(class_path)
    bases = [ast.unparse(base) for base in found[1].bases] if found else []
    return found is not None and any(base == parent or _descends(f"{found[0]}.{base}", parent) for base in bases)


def _about(class_path: str) -> str:
    found = class_node(class_path)
    return first_sentence((ast.get_docstring(found[1]) if found else None) or "")
