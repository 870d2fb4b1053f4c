"""Architectures and wrappers: published sizes, shapes, and names of other libraries."""

import importlib
import inspect

import numpy as np
import pytest
import torch
from tiny import concrete, generator, user_error
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.googlenet import GoogLeNetOutputs

import ard.models
from ard.models import MobileNetV2, Normalized, ResNet, Timm, Torchvision, WideResNet
from ard.models.building import check_answers, choose_memory_format

# A network is what takes a number of classes; small arguments where the defaults are slow, names where there is none.
NETWORKS = [kind for kind in concrete(ard.models, nn.Module) if "num_classes" in inspect.signature(kind).parameters]
ARGUMENTS = {
    "WideResNet": {"depth": 10, "widen": 1},
    "Narrowed": {"network": ResNet, "sizes": {"stages.0.conv1": [3, 64], "stages.0.norm1": [3], "stages.0.conv2": [64, 3]}},
    "Normalized": {"network": ResNet, "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]},
    "Torchvision": {"name": "resnet18"},
    "Timm": {"name": "resnet18"},
}
STRIDED = [kind for kind in NETWORKS if "stem_stride" in inspect.signature(kind).parameters]
CHANNELED = [kind for kind in NETWORKS if "in_channels" in inspect.signature(kind).parameters]


def build(kind, **more):
    if kind is Timm:
        pytest.importorskip("timm")
    return kind(**(ARGUMENTS.get(kind.__name__, {}) | {"num_classes": 7} | more)).eval()


def batch(channels=3):
    return torch.rand(2, channels, 32, 32, generator=generator())


def test_discovery_finds_what_is_exported():
    assert {ResNet, WideResNet, MobileNetV2, Normalized, Torchvision, Timm} <= set(NETWORKS)
    assert {kind.__name__ for kind in NETWORKS} <= set(ard.models.__all__)


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [(ResNet, 11_173_962), (WideResNet, 46_160_474), (MobileNetV2, 2_296_922)],  # ResNet-18, WRN-34-10
)
def test_parameter_counts_are_the_published_ones(kind, parameters):
    with torch.device("meta"):
        network = kind(num_classes=10)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


@pytest.mark.parametrize("kind", NETWORKS)
def test_pixels_in_logits_out(kind):
    with torch.no_grad():
        logits = build(kind)(batch())
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()
    assert not torch.equal(logits[0], logits[1])


@pytest.mark.parametrize("kind", CHANNELED)
def test_grey_images(kind):
    with torch.no_grad():
        assert build(kind, in_channels=1)(batch(1)).shape == (2, 7)


@pytest.mark.parametrize("kind", STRIDED)
def test_a_stem_of_stride_two_halves_the_resolution_and_quarters_the_cost(kind):
    costs = []
    for stem_stride in (1, 2):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            build(kind, stem_stride=stem_stride)(batch())
        costs.append(counter.get_flop_counts()["Global"][torch.ops.aten.convolution])
    assert costs[1] == pytest.approx(costs[0] / 4, rel=0.05)


def test_the_other_arguments_of_architectures():
    assert [block.conv1.out_channels for block in ResNet(num_classes=3, blocks=(1, 1), width=8).stages] == [8, 16]
    narrow, wide = (MobileNetV2(num_classes=3, width=width, stages=[(1, 16, 1, 1)], head=32) for width in (0.5, 2.0))
    assert [narrow.features[0][0].out_channels, wide.features[0][0].out_channels] == [16, 64]
    with user_error("depth = 35: expected 6 n \\+ 4"):
        WideResNet(num_classes=3, depth=35)


def test_normalized_is_mean_and_deviation_before_the_network():
    mean, std = [0.1, 0.5, 0.7], [0.2, 0.3, 0.4]
    wrapped = Normalized(network=ResNet, mean=mean, std=std, num_classes=5).eval()
    network, x = wrapped.network, batch()
    by_hand = np.stack([(x.numpy()[:, c] - mean[c]) / std[c] for c in range(3)], axis=1).astype(np.float32)
    with torch.no_grad():
        torch.testing.assert_close(wrapped(x), network(torch.from_numpy(by_hand)))
        assert (wrapped(x) - network(x)).abs().max() > 1e-3
    assert {"mean", "std"} <= wrapped.state_dict().keys()


def test_normalized_hands_the_number_of_classes_on():
    network = Normalized(network=ResNet, mean=[0.5], std=[0.5], num_classes=5)
    assert network.network.head.out_features == 5


@pytest.mark.parametrize("kind", [Torchvision, Timm])
def test_a_typo_in_a_name_is_answered_with_the_nearest(kind):
    with user_error("lists no model 'resnett18'; did you mean 'resnet18'"):
        build(kind, name="resnett18")
    with user_error("lists no model '☃'$"):
        build(kind, name="☃")


def test_a_network_of_timm_may_be_named_with_the_tag_of_its_weights(monkeypatch):
    timm = pytest.importorskip("timm")
    monkeypatch.setattr(timm, "create_model", lambda name, **_: name)
    assert Timm(name="resnet50.a1_in1k", num_classes=3).network == "resnet50.a1_in1k"


def test_of_a_network_with_more_outputs_in_train_mode_the_logits_are_taken(monkeypatch):
    """As torchvision's GoogLeNet and Inception have them."""

    class Auxiliary(nn.Linear):
        def forward(self, x):
            logits = super().forward(x.mean(dim=(2, 3)))
            return GoogLeNetOutputs(logits, logits, logits) if self.training else logits

    monkeypatch.setattr("torchvision.models.get_model", lambda *_, num_classes, **__: Auxiliary(3, num_classes))
    network, x = Torchvision(name="googlenet", num_classes=3), batch()
    assert torch.equal(network.train()(x), network.eval()(x))


def test_every_export_exists():
    assert all(hasattr(importlib.import_module("ard.models"), name) for name in ard.models.__all__)


def test_strided_depthwise_layers_stay_in_float32_under_autocast_and_the_rest_does_not():
    network, seen = MobileNetV2(num_classes=4, width=0.25, head=16).eval(), {}
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            kind = module.groups > 1 and module.stride == (2, 2)
            module.register_forward_hook(lambda _, __, out, kind=kind: seen.setdefault(kind, set()).add(out.dtype))
    x = torch.rand(2, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        half = network(x)
    assert seen == {True: {torch.float32}, False: {torch.bfloat16}}
    assert sum(isinstance(m, nn.Conv2d) and m.groups > 1 and m.stride == (2, 2) for m in network.modules()) == 3
    assert torch.allclose(half.float(), network(x), atol=0.05)


def test_a_network_of_timm_that_is_made_for_one_size_is_told_another():
    pytest.importorskip("timm")
    network = Timm(name="vit_tiny_patch16_224", num_classes=3, img_size=32)
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 3)


@pytest.mark.parametrize("make", [lambda: ResNet(num_classes=4, width=4, blocks=(1, 1)), lambda: nn.Conv2d(3, 4, 1, 2)])
def test_a_narrow_strided_convolution_is_not_trained_in_channels_last(make):
    network, x = make(), torch.rand(2, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    assert not choose_memory_format(network, (3, 32, 32))
    for size in range(200):  # in channels_last the process ends on some processors, once the memory behind is in use
        network(x).sum().backward()
        assert torch.rand(16 * (size % 50) + 1).isfinite().all()


def test_other_networks_stay_in_channels_last():
    assert choose_memory_format(ResNet(num_classes=4, width=8, blocks=(1, 1)), (3, 32, 32))
    assert choose_memory_format(nn.Conv2d(8, 8, 1, 2), (8, 32, 32))


@pytest.mark.parametrize(("channels", "grey"), [(1, "true"), (3, "false")])
def test_a_network_for_other_channels_says_what_to_change(channels, grey):
    network, other = nn.Sequential(nn.Conv2d(channels, 2, 3), nn.Flatten(), nn.LazyLinear(3)), 4 - channels
    network(torch.rand(1, channels, 8, 8))
    told = f"; it reads {channels} channels: --data.grey {grey} of a folder of images, or a network of in_channels {other}$"
    with user_error(told):
        check_answers(network, (other, 8, 8), 3, "the student")
    with user_error("cannot read images of shape .3, 9, 9., 1 at a time: [^;]*$"):
        check_answers(network, (3, 9, 9), 3, "the student")
