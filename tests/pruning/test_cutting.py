"""A network without its zero channels: fewer numbers, fewer operations, the same answers, and a card that builds it."""

from dataclasses import replace

import pytest
import torch
from pruning_networks import content, pixels, prunable, seeded, small_mobilenet
from small_runs import cli, one_line, write_weights
from test_channels import NETWORKS
from tiny import user_error
from torch import nn

from ard.artifacts.card import Card
from ard.artifacts.facts import Pruned
from ard.artifacts.weights import read_stored, save_weights
from ard.evaluation.measurement import count_macs
from ard.models import Narrowed, ResNet, load
from ard.models.loading import network_with
from ard.pruning.cutting import cut_out
from ard.pruning.pruning import prune_network

STAGES = [[1, 8, 1, 1], [2, 16, 2, 2]]
CARD = Card(
    class_path="ard.models.MobileNetV2",
    init_args={"in_channels": 1, "width": 0.5, "stages": STAGES, "head": 16},
    num_classes=4,
)


def parameters(network):
    return sum(part.numel() for part in network.parameters())


def cut_file(path, network, card=CARD):
    save_weights(path, *cut_out(network, card, pixels(2))[:2])
    return path


@pytest.mark.parametrize("how", ["fanout", "dpp"])
def test_the_answers_are_the_same_and_numbers_and_operations_fewer(tmp_path, how):
    of, x = prunable(small_mobilenet(), 0.4), pixels()
    whole, macs = parameters(of.network), count_macs(of.network, x[:1])
    prune_network(of, how)
    smaller = load(cut_file(tmp_path / "smaller.safetensors", of.network))
    with torch.no_grad():
        torch.testing.assert_close(smaller(x), of.network(x), atol=1e-5, rtol=1e-5)
    assert parameters(smaller) == cut_out(of.network, CARD, x[:2]).parameters < 0.6 * whole
    assert count_macs(smaller, x[:1]) < 0.6 * macs
    assert all((part != 0).any() for part in smaller.parameters())


@pytest.mark.parametrize("name", ["resnet", "wide resnet", "flattened"])
def test_any_network_whose_channels_are_found_can_be_cut(name):
    make, shape = NETWORKS[name]
    of, x = prunable(make(), 0.7, pixels(8, shape)), pixels(8, shape)
    prune_network(of, "fanout")
    card = Card(class_path="ard.models.ResNet", init_args={})
    state, described, count, _ = cut_out(of.network, card, x)
    smaller = Narrowed(network=lambda *, num_classes: make(), sizes=described.init_args["sizes"], num_classes=4).eval()  # noqa: ARG005
    smaller.network.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(smaller(x), of.network(x), atol=1e-5, rtol=1e-5)
    assert count == parameters(smaller) < parameters(of.network)


def test_to_cut_twice_is_to_cut_once_more(tmp_path):
    first = prunable(small_mobilenet(), 0.7)
    prune_network(first, "fanout")
    once = read_stored(cut_file(tmp_path / "once.safetensors", first.network))
    again = prunable(network_with(once, str(tmp_path / "once.safetensors"), None), 0.6)
    prune_network(again, "fanout")
    twice = cut_file(tmp_path / "twice.safetensors", again.network, once.card)
    assert read_stored(twice).card.init_args["network"] == CARD.network
    with torch.no_grad():
        torch.testing.assert_close(load(twice)(pixels()), again.network(pixels()), atol=1e-5, rtol=1e-5)


def test_it_can_be_trained():
    network = Narrowed(
        network=lambda *, num_classes: seeded(lambda: ResNet(num_classes=num_classes, in_channels=1, width=4, blocks=(1,))),
        sizes={"stages.0.conv1": [2, 4], "stages.0.norm1": [2], "stages.0.conv2": [4, 2]},
        num_classes=3,
    ).train()
    network(pixels()).square().sum().backward()
    assert network.network.stages[0].conv1.weight.grad.shape == (2, 4, 3, 3)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"nowhere": [1]}, "sizes of 'nowhere': MobileNetV2 has no such layer"),
        ({"head": [4, 17]}, r"sizes of 'head': \[4, 17\]; expected 2 numbers from 1 to those of the layer, \(4, 16\)"),
        ({"head": [0, 16]}, "expected 2 numbers from 1"),
        ({"head": [4]}, "expected 2 numbers"),
        ({"features": [1]}, "expected 0 numbers"),
    ],
)
def test_sizes_that_do_not_fit_are_one_line(sizes, message):
    with user_error(message):
        Narrowed(network=lambda *, num_classes: small_mobilenet(), sizes=sizes, num_classes=4)  # noqa: ARG005


def test_sizes_of_a_hostile_card_are_one_line(tmp_path):
    path = tmp_path / "hostile.safetensors"
    for sizes in ({"head": "x"}, {"head": [1e9, 1]}, {"head": None}, {"__class__": [1]}, [1], "head"):
        card = Card(class_path="ard.models.Narrowed", init_args={"network": CARD.network, "sizes": sizes}, num_classes=4)
        save_weights(path, small_mobilenet(), card)
        with user_error("hostile.safetensors describes a network that cannot be built"):
            load(path)


def test_what_cannot_be_cut_is_refused():
    with user_error("--smaller: no channel is zero that one layer alone reads"):
        cut_out(small_mobilenet(), CARD, pixels(2))
    with user_error("--smaller: the card of a smaller network must describe it"):
        cut_out(small_mobilenet(), Card(), pixels(2))


def test_the_last_channel_stays():
    network = seeded(lambda: nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU(), nn.Conv2d(3, 2, 3), nn.Flatten()))
    network[2].weight.data.zero_()
    assert cut_out(network, Card(class_path="ard.models.MobileNetV2"), pixels(2)).state["2.weight"].shape == (2, 1, 3, 3)


def test_what_is_not_zero_is_counted_in_what_is_left():
    """Nobody reads the first channel, whose filter and bias are not zero."""
    network = seeded(lambda: nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU(), nn.Conv2d(3, 2, 3), nn.Flatten()))
    network[2].weight.data[:, 0].zero_()
    pruned = Pruned(how="magnitude", keep=0.5, of="ab" * 32, nonzero=44, seed=0, method=None, teacher=None)
    smaller = cut_out(network, Card(class_path="ard.models.MobileNetV2", pruned=pruned), pixels(2))
    assert (smaller.parameters, smaller.nonzero, smaller.card.pruned) == (42, 42, replace(pruned, nonzero=42))


@pytest.mark.usefixtures("short_attacks")
def test_the_command_prunes_and_cuts_and_cuts_what_was_pruned(place, capsys):
    write_weights(place / "runs/net/student.safetensors")
    assert cli(capsys, "prune", "runs/net", "--how", "fanout", "--keep", "0.6")[0] == 0
    status, out, _ = cli(capsys, "prune", "runs/net-fanout-0.6", "--keep", "1", "--smaller")
    assert status == 0
    left = read_stored("runs/net-fanout-0.6-smaller").card.pruned.nonzero
    assert f"parameters, {left:,} not zero, the same answers" in out
    assert "--init" not in out
    first = content(place / "runs/net-fanout-0.6-smaller")
    assert cli(capsys, "prune", "runs/net", "--how", "fanout", "--keep", "0.6", "--smaller", "--replace")[0] == 0
    assert content(place / "runs/net-fanout-0.6-smaller") == first
    zeros, smaller = (load(place / f"runs/net-fanout-0.6{end}/student.safetensors") for end in ("", "-smaller"))
    x = pixels()
    with torch.no_grad():
        torch.testing.assert_close(smaller(x), zeros(x), atol=1e-5, rtol=1e-5)
    assert "no channel is zero" in one_line(place, capsys, "prune", "runs/net", "--keep", "1", "--smaller")
    assert cli(capsys, "evaluate", "runs/net-fanout-0.6-smaller", "--limit", "20")[0] in (0, 3, 4)
