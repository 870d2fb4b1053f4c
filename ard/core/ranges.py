"""Numbers out of range, words that are none of a choice and things of another kind are refused by the name that was typed.

A parser keeps to what a constructor says it takes, Python does not.
"""

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


def share(**options: float | None) -> None:
    """Raises UserError for the first option that is no share, from 0 to 1; None is no number, and passes."""
    for name, value in options.items():
        if value is not None and not 0 <= value <= 1:
            raise UserError(f"{name} = {value}: expected a share, from 0 to 1")


def whole(least: int, **options: int | None) -> None:
    """Raises UserError for the first option that is no int, or is below `least`; None is no number, and passes."""
    for name, value in options.items():
        of_kind(int, f"an int, at least {least}", **{name: value})
        at_least(least, **{name: value})


def of_kind(kind: type, expected: str, **options: object) -> None:
    """Raises UserError for the first option that is no `kind`, and tells what was expected; None passes."""
    for name, value in options.items():
        if value is not None and not isinstance(value, kind):
            raise UserError(f"{name} = {value!r}: expected {expected}")


def one_of(choice: Any, **options: str | None) -> None:
    """Raises UserError for the first option that is none of a Literal's words; None is no word, and passes."""
    for name, value in options.items():
        if value is not None and value not in get_args(choice):
            raise UserError(f"{name} = {value}: expected one of {', '.join(get_args(choice))}")
