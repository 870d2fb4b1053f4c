"""What every run watches for while it trains; a run in which nothing goes wrong is the same with and without."""

from dataclasses import dataclass

from ard.errors import UserError
from ard.guards.base import Guard
from ard.guards.finite import Finite
from ard.guards.summary import Summary


@dataclass(frozen=True, kw_only=True)
class Guards:
    """What ends a run before its time.

    Args:
        skip_nonfinite: how many training steps with NaN or Inf in the loss or the gradient are left out, their number in
            metrics.csv, before the next one ends the run; more than 0 waits for the device in every step.
    """

    skip_nonfinite: int = 0

    def __post_init__(self) -> None:
        if self.skip_nonfinite < 0:
            raise UserError(f"skip_nonfinite = {self.skip_nonfinite}: expected at least 0 steps")

    def callbacks(self) -> list[Guard]:
        """The guards, for the trainer; the last one writes down what the others saw."""
        guards = [Finite(self.skip_nonfinite)]
        return [*guards, Summary(guards)]


__all__ = ["Guard", "Guards"]
