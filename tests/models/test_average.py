"""The moving average goes on after a restore as if nothing had been."""

import torch
from tiny import generator
from torch import nn

from ard.models.average import MovingAverage

DECAY = 0.9


def step(network, k):
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator(k)))


def test_a_restored_average_goes_on_with_the_same_bits():
    network = nn.Linear(3, 2)
    alone = MovingAverage(network, DECAY)
    for k in range(6):
        if k == 3:
            restored = MovingAverage(network, DECAY)
            restored.load_state_dict(alone.state_dict())
        step(network, k)
        alone.update_parameters(network)
        if k >= 3:
            restored.update_parameters(network)
    assert int(restored.n_averaged) == 6
    for ours, theirs in zip(alone.state_dict().values(), restored.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
