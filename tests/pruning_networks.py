"""Networks to prune in the tests, their BatchNorm moved away from its start, and images for them."""

import torch
from torch import nn

from ard.artifacts.tensors import digest_of_tensors
from ard.artifacts.weights import read_stored
from ard.models import MobileNetV2
from ard.pruning.prunable import Prunable


def seeded(make, seed=0):
    """A network in eval mode, with statistics, γ and β that are no round numbers."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        network = make()
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                for values in (part.weight.data, part.bias.data, part.running_mean, part.running_var):
                    values.copy_(0.5 + torch.rand(len(values)))
    return network.eval()


def small_mobilenet(seed=0):
    """With a block that has a shortcut, one of stride 2 and one that has none of its own to project."""
    stages = [[1, 8, 1, 1], [2, 16, 2, 2]]
    return seeded(lambda: MobileNetV2(num_classes=4, in_channels=1, width=0.5, stages=stages, head=16), seed)


def two_layers(seed=0):
    """8 channels of 9 weights, which a 1×1 convolution to 4 reads: 13 weights a channel, 104 in all."""

    def make():
        head = [nn.Conv2d(8, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), *head)

    return seeded(make, seed)


def pixels(count=24, shape=(1, 8, 8), seed=0):
    return torch.rand((count, *shape), generator=torch.Generator().manual_seed(seed))


def prunable(network, keep, x=None, **more):
    return Prunable(network=network, keep=keep, images=lambda: pixels() if x is None else x, **more)


def bits(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def content(path):
    """The digest of tensors and card: a file of the same may have its header in another order."""
    stored = read_stored(path)
    return digest_of_tensors(stored.state, stored.card.text)
