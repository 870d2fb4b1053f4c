"""The channels that are found: without one, a network answers as if the layer that reads it did not see it."""

import pytest
import torch
from pruning_networks import pixels, prunable, seeded, small_mobilenet
from tiny import tiny_net, user_error
from torch import nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from ard.models import ResNet, Torchvision, WideResNet
from ard.pruning.channels import channels_of


def resnet():
    return seeded(lambda: ResNet(num_classes=4, in_channels=1, width=4, blocks=(1, 1)))


NETWORKS = {
    "mobilenet": (small_mobilenet, (1, 8, 8)),
    "resnet": (resnet, (1, 8, 8)),
    "wide resnet": (lambda: seeded(lambda: WideResNet(num_classes=4, in_channels=1, depth=10, widen=1)), (1, 8, 8)),
    "flattened": (lambda: tiny_net().eval(), (1, 6, 6)),
    "torchvision": (lambda: seeded(lambda: Torchvision(name="squeezenet1_1", num_classes=4)), (3, 32, 32)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_to_remove_a_channel_is_to_hide_it_from_its_reader(name):
    make, shape = NETWORKS[name]
    x = pixels(4, shape)
    channels = channels_of(make(), x)
    changed = []
    for one in channels[:: max(1, len(channels) // 6)]:
        hidden, cut = make(), make()
        gone = torch.arange(0, one.count, 2)

        def hide(_, inputs, one=one, gone=gone):
            read = inputs[0].unflatten(1, (one.count, one.span)).clone()
            read[:, gone] = 0
            return (read.flatten(1, 2),)

        hidden.get_submodule(one.layer).register_forward_pre_hook(hide)
        one.remove(cut, gone)
        with torch.no_grad():
            torch.testing.assert_close(cut(x), hidden(x), atol=1e-6, rtol=1e-5)
            changed.append(not torch.equal(cut(x), make()(x)))
    assert any(changed)  # where none of these channels is dead


def test_which_channels_a_mobilenet_and_a_resnet_have():
    """Inside a block; what is added to a shortcut is read by others, too."""
    x = pixels(2)
    mobile = [f"features.{place}" for place in ("2.project.0", "3.project.0", "4.project.0", "5.0")]
    assert [one.layer for one in channels_of(small_mobilenet(), x)] == [*mobile[:3], "head"]
    assert [one.layer for one in channels_of(resnet(), x)] == ["stages.0.conv2", "stages.1.conv2"]
    hidden = channels_of(small_mobilenet(), x)[1]
    parts = ("expand.0.weight", "expand.1.weight", "expand.1.bias", "depthwise.0.weight", "depthwise.1.weight")
    assert set(hidden.rows) == {f"features.3.{part}" for part in (*parts, "depthwise.1.bias")}
    assert (hidden.norm_before, hidden.norm_behind) == ("features.3.depthwise.1.weight", "features.3.project.1.weight")


class Shared(nn.Module):
    """One layer twice: a channel of it is read by the layer itself."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.layer(self.layer(x.flatten(1))))


class Untraceable(nn.Module):
    """As code that asks a tensor for what only a real one has."""

    def forward(self, x):
        if get_proxy_mode() is not None:
            raise TypeError("a tensor\nthat is traced")
        return x.flatten(1)


def test_a_layer_that_is_used_twice_is_not_cut():
    assert channels_of(Shared().eval(), pixels(2, (1, 2, 2))) == ()


def test_a_network_that_cannot_be_traced_is_one_line():
    with user_error("Untraceable cannot be traced .TypeError: a tensor.: expected --how magnitude or random"):
        channels_of(Untraceable(), pixels(2))


def test_biases_of_what_goes_go_too():
    network = seeded(lambda: nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU(), nn.Conv2d(3, 2, 3), nn.Flatten()))
    (channels,) = prunable(network, 0.5).channels
    channels.remove(network, torch.tensor([1]))
    assert network[0].bias[1] == 0
    assert (network[0].bias != 0).sum() == 2
