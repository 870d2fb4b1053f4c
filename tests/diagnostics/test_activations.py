"""What is seen of layers, against hooks and weights that a test can read for itself."""

import pytest
import torch
from inspected_networks import images
from torch import nn

from ard.diagnostics.activations import activated_layers, activations, penultimate
from ard.diagnostics.base import NotApplicableError
from ard.models import MobileNetV2, ResNet, WideResNet

SMALL = {
    "ResNet": lambda: ResNet(num_classes=3, width=4, blocks=(1, 1)),
    "WideResNet": lambda: WideResNet(num_classes=3, depth=10, widen=1),
    "MobileNetV2": lambda: MobileNetV2(num_classes=3, stages=[[1, 8, 1, 1], [2, 8, 1, 2]], head=8),
}


def small(name, seed=0):
    """With running statistics and scales of BatchNorm that are not those at the start."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        network = SMALL[name]()
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.uniform_(layer.weight, 0.5, 2)
                nn.init.uniform_(layer.running_var, 0.5, 2)
    return network.eval()


X = images(4, (3, 8, 8))


@pytest.mark.parametrize("name", SMALL)
def test_every_relu_is_a_layer_and_what_it_says_is_seen(name):
    network = small(name)
    layers = activated_layers(network, X[:1])
    found = activations(network, X, range(len(layers)))
    assert len({layer.name for layer in layers}) == len(layers)
    assert [found[layer.place].shape for layer in layers] == [(4, layer.channels, *layer.size) for layer in layers]
    assert all((maps >= 0).all() and (maps > 0).any() for maps in found.values())


def test_layers_have_the_names_of_what_they_are_in():
    assert [layer.name for layer in activated_layers(small("ResNet"), X[:1])] == [
        "ResNet",
        "stages.0",
        "stages.0 (2)",
        "stages.1",
        "stages.1 (2)",
    ]


def test_what_a_module_writes_into_later_is_seen_as_it_was():
    class Written(nn.Module):
        def forward(self, x):
            seen = x.relu()
            seen += 5
            return seen.flatten(1)

    assert torch.equal(activations(Written(), X - 0.5, [0])[0], (X - 0.5).relu())


def test_an_activation_of_a_parameter_is_no_layer():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.row = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.ones(1, 3))

        def forward(self, x):
            return (x * self.scale.tanh()).relu().flatten(1)[:, :3] * self.row.tanh()

    assert [layer.channels for layer in activated_layers(Scaled(), X[:2])] == [3]
    assert activations(Scaled(), X, [0])[0].shape == (4, 3, 8, 8)


def test_fan_out_is_the_norm_of_what_reads_a_channel_with_batchnorm_folded_in():
    network = small("ResNet")
    layers = {layer.name: layer for layer in activated_layers(network, X[:1])}
    block = network.stages[1]

    def folded(conv, norm):
        return conv.weight.detach() * (norm.weight / (norm.running_var + norm.eps).sqrt()).detach()[:, None, None, None]

    one, other = folded(block.conv1, block.norm1), folded(*block.shortcut)
    expected = (one.square().sum(dim=(0, 2, 3)) + other.square().sum(dim=(0, 2, 3))).sqrt()
    assert torch.allclose(layers["stages.0 (2)"].fan_out, expected, rtol=1e-5)
    last = network.head.weight.detach().norm(dim=0)  # through the mean over positions
    assert torch.allclose(layers["stages.1 (2)"].fan_out, last, rtol=1e-5)


def test_fan_out_to_a_depthwise_layer_and_to_flattened_channels():
    depthwise = nn.Conv2d(4, 8, 3, groups=4, bias=False)
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), depthwise, nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 2))
    first, second = activated_layers(network.eval(), X[:1])
    assert torch.allclose(first.fan_out, depthwise.weight.detach().view(4, 2, 1, 3, 3).flatten(1).norm(dim=1))
    read = network[5].weight.detach().view(2, 8, 36)
    assert torch.allclose(second.fan_out, read.square().sum(dim=(0, 2)).sqrt())


@pytest.mark.parametrize("name", SMALL)
def test_penultimate_is_what_the_head_reads(name):
    network = small(name)
    seen = penultimate(network, X)
    assert torch.allclose(network.head(seen), network(X), atol=1e-5)


def test_a_network_without_activations_or_without_a_linear_layer():
    with pytest.raises(NotApplicableError, match="no activation function"):
        activated_layers(nn.Flatten(), X)
    with pytest.raises(NotApplicableError, match="no linear layer"):
        penultimate(nn.ReLU(), X)
