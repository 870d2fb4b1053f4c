"""The guards of every run; they change nothing in a run in which nothing goes wrong."""

from dataclasses import dataclass
from typing import Literal

from ard.core.errors import UserError
from ard.core.ranges import one_of
from ard.training.callbacks.collapse import Collapse
from ard.training.callbacks.finite import Finite
from ard.training.callbacks.guard import Guard
from ard.training.callbacks.overfitting import Action, CatastrophicOverfitting, RobustOverfitting
from ard.training.callbacks.summary import Summary
from ard.training.callbacks.unchanged_teachers import UnchangedTeachers


@dataclass(frozen=True, kw_only=True)
class Guards:
    """What ends a run before its time.

    Args:
        skip_nonfinite: how many training steps with NaN or Inf in the loss or the gradient are left out, their number in
            metrics.csv, before the next one ends the run; more than 0 waits for the device in every step.
        on_overfitting: when the student learns to fool the attack (robust accuracy falls by 10 points and 20 below that
            against FGSM): stop with an error, roll last.ckpt back to best.ckpt and stop, or warn and go on.
    """

    skip_nonfinite: int = 0
    on_overfitting: Literal["stop", "rollback", "warn"] = "stop"

    def __post_init__(self) -> None:
        if self.skip_nonfinite < 0:
            raise UserError(f"skip_nonfinite = {self.skip_nonfinite}: expected at least 0 steps")
        one_of(Action, on_overfitting=self.on_overfitting)

    def callbacks(self) -> list[Guard]:
        """The guards, for the trainer; the last one writes summary.json, in which the others' warnings are."""
        guards = [
            Finite(self.skip_nonfinite),
            CatastrophicOverfitting(self.on_overfitting),
            RobustOverfitting(),
            Collapse(),
            UnchangedTeachers(),
        ]
        return [*guards, Summary(guards)]
