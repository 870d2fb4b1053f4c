"""A moving average of a network's weights."""

from typing import Any, Self

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from ard.models.building import copyable


class MovingAverage(AveragedModel):
    """Exponential moving average of parameters and buffers: in eval mode for good, and without gradients.

    torch's own waits for the device every step.

    Args:
        model: The network that is followed; the average begins as a copy of it.
        decay: The share of the average that each update keeps, in (0, 1).
        warmup: Whether update n, from 0, keeps min(decay, (1 + n) / (10 + n)) instead, and the first one nothing, so that
            short runs can use it.
    """

    def __init__(self, model: nn.Module, decay: float, *, warmup: bool = True) -> None:
        super().__init__(copyable(model), use_buffers=True)
        self.decay, self.warmup = decay, warmup
        self._steps: int | None = 0  # n_averaged on the host; None: restored, to be read once
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002
        return super().train(False)  # whoever holds it may be trained

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        step = int(self.n_averaged) if self._steps is None else self._steps
        keep = self._warmed_up(step) if self.warmup else self.decay
        pairs = list(zip(_tensors(self.module), _tensors(model), strict=True))
        moving = [(average, current) for average, current in pairs if average.is_floating_point()]
        torch._foreach_lerp_([average for average, _ in moving], [current for _, current in moving], 1 - keep)  # few kernels
        counted = [(average, current) for average, current in pairs if not average.is_floating_point()]
        if counted:
            torch._foreach_copy_([average for average, _ in counted], [current for _, current in counted])
        self.n_averaged += 1
        self._steps = step + 1

    def _warmed_up(self, step: int) -> float:
        return min((1 + step) / (10 + step), self.decay) if step else 0.0

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._steps = None


def _tensors(network: nn.Module) -> list[torch.Tensor]:
    """A state dict's, sooner."""
    return [*network.parameters(), *network.buffers()]
