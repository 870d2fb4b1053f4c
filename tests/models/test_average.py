"""The moving average: what it keeps, and that it goes on after a restore as if nothing had been."""

import pytest
import torch
from tiny import generator
from torch import nn

from ard.models.average import MovingAverage

DECAY = 0.9


def step(network, k):
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator(k)))


@pytest.mark.parametrize("warmup", [True, False])
def test_a_restored_average_goes_on_with_the_same_bits(warmup):
    network = nn.Linear(3, 2)
    alone = MovingAverage(network, DECAY, warmup=warmup)
    for k in range(6):
        if k == 3:
            restored = MovingAverage(network, DECAY, warmup=warmup)
            restored.load_state_dict(alone.state_dict())
        step(network, k)
        alone.update_parameters(network)
        if k >= 3:
            restored.update_parameters(network)
    assert int(restored.n_averaged) == 6
    for ours, theirs in zip(alone.state_dict().values(), restored.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(("warmup", "kept"), [(True, [0.0, 2 / 11, 3 / 12]), (False, [DECAY] * 3)])
def test_what_each_update_keeps_of_the_average(warmup, kept):
    network = nn.Linear(3, 2)
    average, expected = MovingAverage(network, DECAY, warmup=warmup), network.weight.detach().clone()
    for k, share in enumerate(kept):
        step(network, k)
        average.update_parameters(network)
        expected = share * expected + (1 - share) * network.weight.detach()
        torch.testing.assert_close(average.module.weight, expected)


def test_it_stays_in_eval_mode_and_without_gradients():
    average = MovingAverage(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), DECAY)
    nn.ModuleList([average]).train()
    assert not any(part.training for part in average.modules())
    assert not any(parameter.requires_grad for parameter in average.parameters())
