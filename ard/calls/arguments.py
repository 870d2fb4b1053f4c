"""Arguments by a name that a call does not have, in one line."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from ard.core.errors import UserError

P = ParamSpec("P")
R = TypeVar("R")


def known_arguments(call: Callable[P, R]) -> Callable[P, R]:
    """The call, which raises UserError for an argument that it does not have."""
    known = [*inspect.signature(call).parameters]

    @wraps(call)
    def checked(*args: P.args, **options: P.kwargs) -> R:
        unknown = next((key for key in options if key not in known), None)
        if unknown is not None:
            raise UserError(f"ard.{call.__name__} has no argument {unknown!r}: expected one of {', '.join(known)}")
        return call(*args, **options)

    return checked
