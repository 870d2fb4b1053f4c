"""The teachers that a run needs: the places of a resolved config where weights are still missing."""

from typing import Any

from ard.cli.composed import without_init_args
from ard.cli.teacher_places import teacher_places
from ard.core.errors import UserError


def missing_teachers(resolved: dict[str, Any]) -> list[str]:
    """The places, such as `teacher` or `objective.init_args.natural_teacher`, below the model's init_args."""
    found = teacher_places(without_init_args(resolved["model"]))
    places = [place.replace(".", ".init_args.") for place, weights in found.items() if not weights]
    for place in places:
        if "[" in place:
            raise UserError(f"model.init_args.{place} names no weights: a study cannot fill a list; name them in the recipe")
    return places
