"""What an objective holds: networks of its own, made where a run that goes on can read them back, and its buffers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from ard.core.errors import UserError
from ard.models.frozen import Frozen


@contextmanager
def own_networks(part: Any, student: nn.Module, teacher: nn.Module | None) -> Iterator[None]:
    """Around an objective's `setup`; raises UserError for what it may not hold afterwards.

    That is a layer of the student or of the teacher, which are lent to each step, and parameters that `awaits` does not
    name: `--resume` compares a checkpoint with the objective as it is before `setup`.
    """
    before = {name for name, _ in part.named_parameters()}
    yield
    _check_lent(part, [student, *(teacher.networks if isinstance(teacher, Frozen) else [])])
    made = dict.fromkeys(key.partition(".")[0] for key, _ in part.named_parameters() if key not in before)
    if missing := [name for name in made if name not in part.awaits]:
        names = ", ".join(f'"{name}"' for name in missing)
        raise UserError(
            f"{type(part).__name__}.setup made {', '.join(missing)}, which --resume would not look for: expected "
            f"`awaits = ({names},)` in the class, or to make it in `build`"
        )


@contextmanager
def going_on(part: nn.Module, *, fitted_before: bool) -> Iterator[None]:
    """Around an objective's `setup`: of a second fit, the buffers that it fills anew are then as the first one left them."""
    before = {name: value.clone() for name, value in part.named_buffers(recurse=False)} if fitted_before else {}
    yield
    for name, value in before.items():
        now = getattr(part, name, None)
        if now is not None and now.shape == value.shape:
            now.copy_(value)


def _check_lent(part: nn.Module, lent: list[nn.Module]) -> None:
    theirs = {id(parameter) for network in lent for parameter in network.parameters()}
    for name, parameter in part.named_parameters():
        if id(parameter) in theirs:
            raise UserError(
                f"{type(part).__name__}.{name} is a parameter of the student or of its teacher, which would be trained and "
                "stored twice: look for the layer in each batch, or keep it in a list"
            )
