"""A moving average of a network's weights."""

from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from ard.models.building import copyable


class MovingAverage(AveragedModel):
    """Exponential moving average of parameters and buffers, decay warmed up; torch's own waits for the device every step."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(copyable(model), use_buffers=True)
        self.decay = decay
        self.steps: int | None = 0  # n_averaged on the host; None: restored, to be read once

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        step = int(self.n_averaged) if self.steps is None else self.steps
        keep = min((1 + step) / (10 + step), self.decay) if step else 0.0
        pairs = list(zip(_tensors(self.module), _tensors(model), strict=True))
        moving = [(average, current) for average, current in pairs if average.is_floating_point()]
        torch._foreach_lerp_([average for average, _ in moving], [current for _, current in moving], 1 - keep)  # few kernels
        counted = [(average, current) for average, current in pairs if not average.is_floating_point()]
        if counted:
            torch._foreach_copy_([average for average, _ in counted], [current for _, current in counted])
        self.n_averaged += 1
        self.steps = step + 1

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.steps = None


def _tensors(network: nn.Module) -> list[torch.Tensor]:
    """A state dict's, sooner."""
    return [*network.parameters(), *network.buffers()]
