"""A moving average of a network's weights."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel


class MovingAverage(AveragedModel):
    """Exponential moving average of parameters and buffers, decay warmed up; torch's own waits for the device every step."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model, use_buffers=True)
        self.decay = decay

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        step = self.n_averaged.double()
        keep = torch.where(step == 0, 0.0, ((1 + step) / (10 + step)).clamp_max(self.decay))
        for average, current in zip(self.module.state_dict().values(), model.state_dict().values(), strict=True):
            if average.is_floating_point():
                average.lerp_(current, (1 - keep).to(average.dtype))
            else:
                average.copy_(current)
        self.n_averaged += 1
