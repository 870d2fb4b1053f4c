"""Numbers out of range, and words that are none of a choice, are refused by the name that the user typed."""

from typing import Any, get_args

from ard.core.errors import UserError


def at_least(least: float, **options: float | None) -> None:
    """Raises UserError for the first option that is below `least`; None is no number, and passes."""
    for name, value in options.items():
        if value is not None and not value >= least:
            raise UserError(f"{name} = {value}: expected at least {least:g}")


def above(bound: float, **options: float | None) -> None:
    """Raises UserError for the first option that is not above `bound`; None is no number, and passes."""
    for name, value in options.items():
        if value is not None and not value > bound:
            raise UserError(f"{name} = {value}: expected above {bound:g}")


def one_of(choice: Any, **options: str | None) -> None:
    """Raises UserError for the first option that is none of a Literal's words; None is no word, and passes.

    A parser keeps to a Literal, Python does not.
    """
    for name, value in options.items():
        if value is not None and value not in get_args(choice):
            raise UserError(f"{name} = {value}: expected one of {', '.join(get_args(choice))}")
