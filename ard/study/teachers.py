"""The teachers that a run needs: the places of a resolved config where weights are still missing."""

from collections.abc import Iterator
from typing import Any

from ard.artifacts.class_paths import TEACHERS_FROM_FILES
from ard.core.errors import UserError


def missing_teachers(resolved: dict[str, Any]) -> list[str]:
    """The places, such as `teacher` or `objective.init_args.natural_teacher`, below the model's init_args."""
    places = list(_places(resolved["model"]["init_args"], ""))
    for place in places:
        if "[" in place:
            raise UserError(f"model.init_args.{place} names no weights: a study cannot fill a list; name them in the recipe")
    return places


def _places(tree: Any, place: str) -> Iterator[str]:
    if isinstance(tree, list):
        for index, part in enumerate(tree):
            yield from _places(part, f"{place}[{index}]")
    if isinstance(tree, dict):
        if _is_read_from_a_file(tree) and not (tree.get("init_args") or {}).get("weights"):
            yield place
        for key, part in tree.items():
            yield from _places(part, f"{place}.{key}".lstrip("."))


def _is_read_from_a_file(tree: dict[str, Any]) -> bool:
    """By the public name, or by that of the module, as in ard.models.frozen.Frozen."""
    package, _, name = str(tree.get("class_path")).rpartition(".")
    return package.startswith("ard.models") and f"ard.models.{name}" in TEACHERS_FROM_FILES
