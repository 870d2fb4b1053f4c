"""The teachers that a run needs: the places of a resolved config where weights are still missing."""

from collections.abc import Iterator
from typing import Any

from ard.core.errors import UserError

FROM_A_FILE = ("ard.models.Frozen", "ard.models.Cached")  # teachers whose weights are an argument


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
        if tree.get("class_path") in FROM_A_FILE and not (tree.get("init_args") or {}).get("weights"):
            yield place
        for key, part in tree.items():
            yield from _places(part, f"{place}.{key}".lstrip("."))
