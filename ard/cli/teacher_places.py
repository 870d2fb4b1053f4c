"""Where a run has teachers that are read from files of weights, whichever method it is."""

from collections.abc import Iterator, Mapping
from typing import Any

from ard.artifacts.class_paths import TEACHERS_FROM_FILES


def teacher_places(model: Mapping[str, Any]) -> dict[str, str | None]:
    """The places in the model of a config without `init_args`, such as `objective.natural_teacher`, and their weights."""
    return dict(_places(model, ""))


def _places(tree: Any, place: str) -> Iterator[tuple[str, str | None]]:
    if isinstance(tree, list):
        for index, part in enumerate(tree):
            yield from _places(part, f"{place}[{index}]")
    if isinstance(tree, Mapping):
        if _is_read_from_a_file(tree):
            yield place, tree.get("weights") or None
        for key, part in tree.items():
            yield from _places(part, f"{place}.{key}".lstrip("."))


def _is_read_from_a_file(tree: Mapping[str, Any]) -> bool:
    """By the public name, or by that of the module, as in ard.models.frozen.Frozen."""
    package, _, name = str(tree.get("class_path")).rpartition(".")
    return package.startswith("ard.models") and f"ard.models.{name}" in TEACHERS_FROM_FILES
