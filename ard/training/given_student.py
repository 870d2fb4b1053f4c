"""How many classes a student knows, in which memory format it reads images, and how to make another one."""

from collections.abc import Callable

import torch
from torch import nn

from ard.attacks import frozen_mode
from ard.core.errors import UserError
from ard.models import Network
from ard.models.building import another, check_answers, check_sizes, choose_memory_format, in_channels_last


def class_count(student: nn.Module, input_shape: tuple[int, ...], expected: int | None) -> int:
    """How many classes it answers with; raises UserError where it cannot read the images or knows others than expected."""
    with frozen_mode(student):
        return check_answers(student, input_shape, expected, "the student")


def reads_channels_last(network: nn.Module, input_shape: tuple[int, ...]) -> bool:
    """Whether it reads images so, and is left in that memory format: see models.building.choose_memory_format."""
    with frozen_mode(network):
        return choose_memory_format(network, input_shape)


def student_factory(student: nn.Module | Network) -> Callable[..., nn.Module]:
    """What makes students: the memory format is faster, with the same maths; a network that came as it is keeps its own."""
    if isinstance(student, torch.jit.ScriptModule):
        raise UserError("a student that torch.jit has compiled: expected the nn.Module that it was made of")
    if isinstance(student, nn.Module):
        check_sizes(*student.parameters())
        return lambda *, num_classes: another(student)  # noqa: ARG005
    return lambda *, num_classes: in_channels_last(student(num_classes=num_classes))
