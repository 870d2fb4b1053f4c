"""Radii as people write them."""

from fractions import Fraction
from typing import TYPE_CHECKING, Self

from ard.core.errors import UserError


class Radius(float):
    """A number that may be written as people say it, "8/255", and that is written back the same way."""

    text: str

    def __new__(cls, value: float | str) -> Self:
        try:
            number = float(Fraction(value) if isinstance(value, str) else value)
        except (TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
            raise UserError(f"eps: {value!r}: expected a number or a fraction such as 8/255") from error
        radius = super().__new__(cls, number)
        radius.text = str(value)
        return radius

    def __str__(self) -> str:
        return self.text


# What a radius may be given as. A parser, which reads it when the program runs, keeps what was written.
if TYPE_CHECKING:
    RadiusLike = float | str
else:
    RadiusLike = Radius
