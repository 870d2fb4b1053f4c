"""Equal bits, not equal numbers: and nothing is copied to the host to find out."""

import pytest
import torch
from torch import nn

from ard.core.devices import device_name
from ard.core.same_bits import copied, same_bits, tensors_of


def network():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
    net[0].weight.data[0, 0, 0, 0] = torch.nan
    return net


CHANGES = {
    "one bit": lambda net: net[0].weight.data.view(torch.int32)[1, 1, 1, 1].bitwise_xor_(1),
    "a swap": lambda net: net[0].bias.data.copy_(net[0].bias.data.flip(0)),
    "the sign of a zero": lambda net: net[1].bias.data.neg_(),
    "a counter": lambda net: net[1].num_batches_tracked.add_(1),
    "a gradient": lambda net: setattr(net[0].bias, "grad", torch.ones(4)),
    "a type": lambda net: net.double(),
}


def test_what_stayed_is_the_same_a_nan_included():
    net = network()
    assert same_bits(copied(tensors_of(net)), tensors_of(net))


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_seen(change):
    net = network()
    before = copied(tensors_of(net))
    CHANGES[change](net)
    assert not same_bits(before, tensors_of(net))


def test_nothing_is_fetched_from_the_device(monkeypatch):
    net = network()
    for name in ("cpu", "numpy", "tolist"):
        monkeypatch.setattr(torch.Tensor, name, lambda *_: pytest.fail("a copy to the host"))
    assert same_bits(copied(tensors_of(net)), tensors_of(net))


def test_a_gpu_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    assert device_name(torch.device("cuda", 1)) == "cuda: GPU 1"
    assert device_name(torch.device("cpu")) == "cpu"
