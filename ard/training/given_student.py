"""A student that came as a network: how many classes it knows, and how to make another one."""

from collections.abc import Callable

import torch
from torch import nn

from ard.attacks import frozen_mode
from ard.core.logits import logits_of
from ard.models import Network
from ard.models.building import another


def class_count(student: nn.Module, input_shape: tuple[int, ...], device: torch.device, expected: int | None) -> int:
    """How many classes it answers with; raises UserError where it cannot read the images or knows others than expected."""
    with torch.no_grad(), frozen_mode(student):
        return logits_of(student, torch.zeros(1, *input_shape, device=device), "the student", expected).shape[1]


def student_factory(student: nn.Module | Network) -> Callable[..., nn.Module]:
    """What makes students: the memory format is faster, with the same maths; a network that came as it is keeps its own."""
    if isinstance(student, nn.Module):
        return lambda *, num_classes: another(student)  # noqa: ARG005
    return lambda *, num_classes: student(num_classes=num_classes).to(memory_format=torch.channels_last)
