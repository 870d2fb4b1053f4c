"""The networks that an objective holds: its own, and made where a run that goes on can read them back."""

from collections.abc import Collection

from torch import nn

from ard.core.errors import UserError
from ard.models.frozen import Frozen


def check_own(part: nn.Module, student: nn.Module, teacher: nn.Module | None) -> None:
    """Raises UserError where an attribute is a layer of the student or of the teacher, which are lent to each step."""
    lent = [student, *(teacher.networks if isinstance(teacher, Frozen) else [])]
    theirs = {id(parameter) for network in lent for parameter in network.parameters()}
    for name, parameter in part.named_parameters():
        if id(parameter) in theirs:
            raise UserError(
                f"{type(part).__name__}.{name} is a parameter of the student or of its teacher, which would be trained and "
                "stored twice: look for the layer in each batch, or keep it in a list"
            )


def check_awaited(part: nn.Module, before: Collection[str], awaits: Collection[str]) -> None:
    """Raises UserError where `setup` made a network that a run which goes on would not expect in its checkpoint."""
    made = [name for name, module in part.named_children() if name not in before and module.state_dict()]
    if missing := [name for name in made if name not in awaits]:
        names = ", ".join(f'"{name}"' for name in missing)
        raise UserError(
            f"{type(part).__name__}.setup made {', '.join(missing)}, with which no run could be resumed: expected "
            f"`awaits = ({names},)` in the class, or the network in `build`"
        )
