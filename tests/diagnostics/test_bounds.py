"""Interval bounds: by hand for linear networks, and as a law for others."""

import pytest
import torch
from inspected_networks import images, inspected, linear
from torch import nn

from ard.attacks import L2
from ard.diagnostics.base import NotApplicableError
from ard.diagnostics.bounds.certified_bounds import certified_bounds
from ard.diagnostics.enclosures import enclosed, smallest_margin
from ard.models import MobileNetV2, Normalized, ResNet, WideResNet

W = torch.tensor([[1.0, -2.0, 0.5, 0.0], [0.0, 1.0, 0.0, -1.0], [2.0, 0.0, 0.0, 1.0]])
X, Y = images(200), torch.arange(200) % 3


def test_widths_and_certificates_of_a_linear_network_by_hand():
    """Width 2 r sum_j |W_kj|; certified exactly where m > eps ‖w_y − w_j‖₁ for all j, which is robust accuracy itself."""
    bias = -W.sum(dim=1) / 2
    found = certified_bounds(inspected(linear(W, bias), X, Y, eps=0.02)).values
    assert found["mean width at eps/10"] == pytest.approx(float(2 * 0.002 * W.abs().sum(dim=1).mean()), rel=1e-4)
    z = X.flatten(1) @ W.T + bias
    reach = 0.02 * (W[Y][:, None] - W).abs().sum(dim=2)
    lead = (z.gather(1, Y[:, None]) - z - reach).scatter(1, Y[:, None], 1).amin(dim=1)
    assert found["certified at eps"] == pytest.approx(float((lead > 0).double().mean()))
    assert found["certified at eps"] == found["robust accuracy"]
    assert 0 < found["certified at eps"] < found["certified at eps/10"]
    spread = float((z - z.mean(dim=0)).square().mean().sqrt())
    assert found["mean width in spreads"] == pytest.approx(found["mean width at eps/10"] / spread, rel=1e-4)


def random_network(name, seed):
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        network = {
            "dense": lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.ReLU(), nn.Linear(8, 3)),
            "pooled": lambda: nn.Sequential(
                *(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout()),
                *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5), nn.LeakyReLU(), nn.Linear(5, 3), nn.Tanh()),
            ),
            "ResNet": lambda: ResNet(num_classes=3, width=4, blocks=(1, 1)),
            "WideResNet": lambda: WideResNet(num_classes=3, depth=10, widen=1),
            "MobileNetV2": lambda: MobileNetV2(num_classes=3, stages=[[1, 8, 1, 1], [2, 8, 1, 2]], head=8),
        }[name]()
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.uniform_(layer.weight, -1.5, 1.5)
        network(torch.rand(64, 3, 8, 8))  # statistics for BatchNorm
    return Normalized.around(network, mean=[0.5, 0.4, 0.3], std=[0.2, 0.3, 0.4]).eval()


@pytest.mark.parametrize("name", ["dense", "pooled", "ResNet", "WideResNet", "MobileNetV2"])
def test_every_answer_lies_within_the_bounds(name):
    network, generator = random_network(name, 0), torch.Generator().manual_seed(0)
    x = torch.rand((8, 3, 8, 8), generator=generator)
    y = network(x).argmax(dim=1)
    low, high = (x - 0.02).clamp(0, 1), (x + 0.02).clamp(0, 1)
    box = enclosed(network, low, high)
    least = smallest_margin(box, y)
    for sharp in (0, 1, 1, 1):  # anywhere in the box, and in its corners
        share = torch.rand(x.shape, generator=generator)
        logits = network(torch.lerp(low, high, share.round() if sharp else share)).detach()
        assert ((box.low - 1e-4 <= logits) & (logits <= box.high + 1e-4)).all()
        others = logits.scatter(1, y[:, None], -torch.inf).amax(dim=1)
        assert (least <= logits.gather(1, y[:, None]).squeeze(1) - others + 1e-4).all()
    assert torch.allclose(enclosed(network, x, x).centre, network(x), atol=1e-4)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["dense", "pooled"])
def test_no_more_images_are_certified_than_are_robust(name, seed):
    network, x = random_network(name, seed), torch.rand((60, 3, 8, 8), generator=torch.Generator().manual_seed(seed))
    of = inspected(network, x, network(x).argmax(dim=1), eps=0.002)
    found = certified_bounds(of).values
    assert 0 < found["certified at eps"] <= found["robust accuracy"]
    of.ball = L2(0.002)
    assert certified_bounds(of).values["certified at eps"] <= certified_bounds(of).values["robust accuracy"]


def test_margins_are_no_looser_than_those_of_logits():
    """What both logits have in common does not count: equal rows have the margin of their biases, whatever the width."""
    network = linear(torch.stack([W[0], W[0]]), torch.tensor([0.1, 0.0]))
    box = enclosed(network, X - 0.3, X + 0.3)
    assert torch.allclose(smallest_margin(box, 0 * Y), torch.tensor(0.1), atol=1e-5)
    assert (box.low[:, 0] - box.high[:, 1] < 0).all()


class Sums(nn.Module):
    """x + x where it trains, and else (3 − 2 x) / −4: what is added is taken to move freely, as in a shortcut."""

    def forward(self, x):
        return (x + x if self.training else (x * -2 + 3) / -4).flatten(1)


def test_sums_and_multiples_by_hand():
    low, high = X - 0.1, X + 0.1
    twice, moved = enclosed(Sums(), low, high), enclosed(Sums().eval(), low, high)
    assert torch.allclose(twice.low, 2 * low.flatten(1))
    assert torch.allclose(twice.high, 2 * high.flatten(1))
    assert torch.allclose(moved.low, (2 * low.flatten(1) - 3) / 4)
    assert torch.allclose(moved.high, (2 * high.flatten(1) - 3) / 4)


class Gated(nn.Module):
    def forward(self, x):
        return (x * torch.sigmoid(x)).flatten(1)


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (Gated(), "product of two answers"),
        (nn.Sequential(nn.GELU(), nn.Flatten()), "gelu"),
        (nn.Sequential(nn.Softmax(dim=1), nn.Flatten()), "softmax"),
    ],
)
def test_a_layer_without_a_rule_is_refused_by_its_name(network, reason):
    with pytest.raises(NotApplicableError, match=reason):
        certified_bounds(inspected(network, X, Y))


def test_a_deep_network_is_refused_with_its_depth():
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        network = nn.Sequential(*(layer for _ in range(30) for layer in (nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())))
        for layer in network[::2]:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    deep = nn.Sequential(*network, nn.Flatten(), nn.Linear(8 * 16, 3))
    with pytest.raises(NotApplicableError, match=r"as deep \(31 layers of weights\): at eps/10 they are [\d.e+]+ times"):
        certified_bounds(inspected(deep, images(20, (8, 4, 4)), Y[:20]))
