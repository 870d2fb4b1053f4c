"""Folded BatchNorm: the same function and input gradient, fewer operations, and nothing left behind."""

import pytest
import torch
import torch.nn.utils.prune
from tiny import generator
from torch import nn

from ard.attacks import attacking
from ard.attacks.folding import folded
from ard.models import MobileNetV2, ResNet, Torchvision, WideResNet
from ard.objectives.pgd_at import PGDAT

NETWORKS = {
    "resnet": lambda: ResNet(num_classes=5, width=8),
    "mobilenet": lambda: MobileNetV2(num_classes=5, width=0.25, head=32),
    "wide_resnet": lambda: WideResNet(num_classes=5, depth=10, widen=1),
    "torchvision": lambda: Torchvision(name="resnet18", num_classes=5),
}


def moved(name):
    """A network whose BatchNorms are far from their start."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        network = NETWORKS[name]()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias)
                nn.init.normal_(module.running_mean)
                nn.init.uniform_(module.running_var, 0.5, 2)
    return network.eval()


def pixels(count=4):
    return torch.rand(count, 3, 32, 32, generator=generator())


def answer(network, x):
    x = x.clone().requires_grad_()
    logits = network(x)
    return logits.detach(), torch.autograd.grad(logits.pow(2).sum(), x)[0]


def counted(network, x, kind):
    """How often BatchNorm's function ran in one forward."""
    calls, original = [], torch.nn.functional.batch_norm
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "batch_norm", lambda *args, **kw: calls.append(kind) or original(*args, **kw))
        network(x)
    return len(calls)


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_and_input_gradients_are_the_same_up_to_rounding(name):
    network, x = moved(name), pixels()
    logits, gradient = answer(network, x)
    with folded(network):
        answer(network, x)  # the first forward looks for pairs
        folded_logits, folded_gradient = answer(network, x)
    assert (folded_logits - logits).abs().max() <= 1e-5 * logits.abs().max()
    assert (folded_gradient - gradient).abs().max() <= 1e-5 * gradient.abs().max()


@pytest.mark.parametrize(("name", "left"), [("resnet", 0), ("mobilenet", 0), ("torchvision", 0), ("wide_resnet", 4)])
def test_no_norm_behind_a_convolution_runs(name, left):
    """A WideResNet normalises sums too, which no convolution can take over."""
    network, x = moved(name), pixels()
    assert counted(network, x, name) > left
    with folded(network):
        network(x)
        assert counted(network, x, name) == left


@pytest.mark.parametrize("broken", [False, True], ids=["whole", "an exception inside"])
def test_nothing_is_left_behind(broken):
    network, x = moved("mobilenet"), pixels()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    parameters, logits = list(network.parameters()), network(x)
    with pytest.raises(ZeroDivisionError) if broken else folded(network):
        if broken:
            with folded(network):
                network(x)
                raise ZeroDivisionError
        network(x)
    assert all(a is b for a, b in zip(parameters, network.parameters(), strict=True))
    assert list(network.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(network(x), logits)


class TwoReaders(nn.Module):
    """The convolution's answer is read beside the norm too: folding it would change the function."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        nn.init.uniform_(self.norm.running_mean, 1, 2)

    def forward(self, x):
        features = self.conv(x)
        return (self.norm(features) + features).mean(dim=(2, 3))


class Gated(nn.Module):
    """Residual blocks whose convolution has a second reader that counts nothing yet: gates that are 0, or nearly."""

    def __init__(self, gate, depth, nested):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 5)
        self.convolutions = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(depth))
        self.norms = nn.ModuleList(nn.BatchNorm2d(8) for _ in range(depth))
        self.gates = nn.Parameter(torch.full((depth, 1 + nested), gate))

    def forward(self, x):
        x = self.stem(x)
        for conv, norm, gates in zip(self.convolutions, self.norms, self.gates, strict=True):
            features = conv(x)
            x = x + norm(features).relu() + gates.prod() * features
        return self.head(x.mean(dim=(2, 3)))


class Shared(nn.Module):
    """One convolution in front of two norms."""

    def __init__(self):
        super().__init__()
        self.conv, self.norms = nn.Conv2d(3, 3, 3, padding=1), nn.ModuleList([nn.BatchNorm2d(3), nn.BatchNorm2d(3)])
        nn.init.uniform_(self.norms[1].running_mean, 1, 2)

    def forward(self, x):
        for norm in self.norms:
            x = norm(self.conv(x))
        return x.mean(dim=(2, 3))


class ByKeyword(nn.Module):
    """A norm that is not called as a hook expects it."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(input=self.conv(x)).mean(dim=(2, 3))


class Stubborn(nn.Conv2d):
    """A convolution that takes no other weight than its own."""

    def __setattr__(self, name, value):
        if name == "weight" and hasattr(self, "weight"):
            raise ZeroDivisionError
        super().__setattr__(name, value)


def normalised(how, *, old=False, kind=nn.Conv2d):
    """Two convolutions, each before a norm; the weight of the first is computed."""
    first = getattr(nn.utils if old else nn.utils.parametrizations, how)(kind(3, 4, 3)) if how else kind(3, 4, 3)
    layers = [first, nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*layers, nn.Flatten())


STRANGE = {
    "spectral": lambda: normalised("spectral_norm"),
    "old spectral": lambda: normalised("spectral_norm", old=True),
    "weight": lambda: normalised("weight_norm"),
    "old weight": lambda: normalised("weight_norm", old=True),
    "orthogonal": lambda: normalised("orthogonal"),
    "stubborn": lambda: normalised("", kind=Stubborn),
}


@pytest.mark.filterwarnings("ignore:.*torch.nn.utils.weight_norm. is deprecated")
@pytest.mark.parametrize("name", STRANGE)
def test_pairs_that_cannot_be_folded_are_left_and_the_others_are(name):
    network = STRANGE[name]().eval().requires_grad_(False)
    x = pixels()
    logits, state = network(x), {key: value.clone() for key, value in network.state_dict().items()}
    with folded(network):
        network(x)
        assert torch.allclose(network(x), logits, rtol=1e-4, atol=1e-5)
        assert counted(network, x, name) == 1
    assert torch.equal(network(x), logits)
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("kind", [TwoReaders, Shared, ByKeyword])
def test_what_cannot_be_folded_stays_as_it_is(kind):
    network, x = kind().eval(), pixels()
    logits = network(x)
    with folded(network):
        assert torch.equal(network(x), logits)
        assert torch.equal(network(x), logits)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("depth", [1, 6])
@pytest.mark.parametrize("gate", [0.0, 1e-6])
def test_a_second_reader_that_counts_later_is_seen_at_once(gate, depth, nested):
    with torch.random.fork_rng([]):
        torch.manual_seed(depth)
        network, x = Gated(gate, depth, nested), pixels()
        for _ in range(3):
            network(pixels(16))
    network.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with folded(network):
        network(x)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    nn.init.ones_(network.gates)
    logits = network(x)
    with folded(network):
        assert torch.equal(network(x), logits)


def test_looking_for_pairs_breaks_no_graph():
    """An objective may have asked the network, with a gradient, before it is attacked."""
    network, x = moved("resnet"), pixels()
    loss = network(x).sum()
    with folded(network):
        network(x)
    loss.backward()


def test_weights_are_folded_anew_after_every_step():
    network, x = moved("resnet"), pixels()
    with folded(network):
        network(x)
    with torch.no_grad():
        network.stem.weight.mul_(2)
    expected = network(x)
    with folded(network):
        assert torch.allclose(network(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_an_attack_runs_folded_in_eval_mode_only(mode):
    network, x = moved("resnet").train(), pixels()
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    with attacking(network, PGDAT(), mode=mode), torch.no_grad():
        network(x)
        assert counted(network, x, mode) == (0 if mode == "eval" else norms)


@pytest.mark.parametrize("name", ["resnet", "mobilenet"])
def test_a_trained_network_is_folded_under_bfloat16_as_well(name):
    """A resumed run begins with such a network: were it not folded, its bits would differ from an uninterrupted run's."""
    network, x = moved(name), pixels()
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    with torch.autocast("cpu", torch.bfloat16), folded(network), torch.no_grad():
        network(x)
        assert norms > counted(network, x, "bfloat16") == 0


def test_batchnorm_of_several_processes_is_folded_like_any_other():
    """In eval mode it is the same function."""
    network, x = nn.SyncBatchNorm.convert_sync_batchnorm(moved("resnet")), pixels()
    logits, _ = answer(network, x)
    with folded(network):
        answer(network, x)
        found, _ = answer(network, x)
        assert counted(network, x, "norm") == 0
    assert torch.allclose(found, logits, rtol=1e-3, atol=1e-3)


class Standardised(nn.Conv2d):
    """Its answer is not linear in its weight, so that nothing can be folded into it."""

    def forward(self, x):
        weight = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
        weight = weight / (weight.std(dim=(1, 2, 3), keepdim=True) + 1e-5)
        return nn.functional.conv2d(x, weight, self.bias, padding=self.padding)


def test_what_cannot_be_folded_is_found_out_before_batch_norm_has_learned_anything():
    network = nn.Sequential(Standardised(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(256, 3)).eval()
    x = torch.rand(2, 3, 8, 8)
    with folded(network):
        network(x)
    network[1].running_mean += 0.5
    network[1].running_var *= 4
    expected = network(x)
    with folded(network):
        torch.testing.assert_close(network(x), expected)


def layer_for_another(network):
    network.stem = nn.Sequential(network.stem, nn.Conv2d(8, 8, 1))


def norm_for_another(network):
    network.norm = nn.InstanceNorm2d(8, affine=True)


def stem_and_norm(network):
    network.stem, network.norm = nn.Conv2d(3, 8, 5, padding=2), nn.BatchNorm2d(8).eval()


def computed_weight(network):
    nn.utils.weight_norm(network.stem)


def pruned_weight(network):
    nn.utils.prune.l1_unstructured(network.stem, "weight", amount=0.5)


def parametrised_weight(network):
    nn.utils.parametrizations.weight_norm(network.stem)


def another_forward(network):
    layer, forward = network.norm, network.norm.forward
    layer.forward = lambda x: 2 * forward(x)


def statistics_of_each_batch(network):
    network.norm.track_running_stats, network.norm.running_mean, network.norm.running_var = False, None, None


def norm_in_train_mode(network):
    network.norm.train()


REPLACED = [another_forward, layer_for_another, norm_for_another, stem_and_norm]
ADAPTED = [statistics_of_each_batch, norm_in_train_mode]
CHANGES = [*REPLACED, *ADAPTED, computed_weight, pruned_weight, parametrised_weight]


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.norm, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Linear(8, 5)
        nn.init.normal_(self.norm.running_mean)

    def forward(self, x):
        return self.head(self.norm(self.stem(x)).relu().mean(dim=(2, 3)))


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.parametrize("change", CHANGES)
def test_a_network_that_was_changed_after_it_was_folded_is_looked_at_again(change):
    network, x = Small().eval(), pixels()
    with folded(network):
        network(x)
    change(network)
    logits, gradient = answer(network, x)
    with folded(network):
        answer(network, x)
        found, found_gradient = answer(network, x)
    torch.testing.assert_close(found, logits, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found_gradient, gradient, rtol=1e-3, atol=1e-4)
    assert ("forward" in vars(network.norm)) == (change is another_forward)


@pytest.mark.parametrize("layer", ["stem", "norm", "a block around the first"])
def test_who_watches_a_layer_sees_what_it_answers(layer):
    network, x = Small().eval(), pixels()
    if layer.startswith("a block"):
        network.stem, layer = nn.Sequential(nn.ZeroPad2d(0), network.stem), "stem"
    seen = []
    getattr(network, layer).register_forward_hook(lambda *args: seen.append(args[2].detach().clone()))
    network(x)
    with folded(network):
        network(x)
    torch.testing.assert_close(seen[-1], seen[0])
