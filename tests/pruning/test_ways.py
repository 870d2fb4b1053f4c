"""What every way to prune keeps to, and closed forms of each."""

import math

import pytest
import torch
from pruning_networks import bits, pixels, prunable, seeded, small_mobilenet, two_layers
from tiny import user_error
from torch import nn
from torch.nn.utils import prune as torch_prune

from ard.models import ResNet
from ard.pruning.names import check_way, ways
from ard.pruning.pruning import nonzero, prune_network
from ard.pruning.structure import Structure
from ard.pruning.ways.dpp import diverse, kernel
from ard.pruning.ways.fanout import fan_out

WAYS = list(ways())
KEEPS = (0.9, 0.5, 0.31)


def weights_left(of):
    return sum(int(weight.count_nonzero()) for weight in of.weights.values())


def pruned(how, keep, seed=0, make=small_mobilenet, **more):
    of = prunable(make(), keep, seed=seed, **more)
    prune_network(of, how)
    return of


def test_there_are_four_ways_and_a_typo_gets_the_nearest():
    assert WAYS == ["dpp", "fanout", "magnitude", "random"]
    with user_error("--how magnitud: expected one of dpp, fanout, magnitude, random; did you mean 'magnitude'"):
        check_way("magnitud")


@pytest.mark.parametrize("how", WAYS)
def test_to_keep_everything_changes_no_bit(how):
    before, of = bits(small_mobilenet()), pruned(how, 1.0)
    assert all(torch.equal(value, before[name]) for name, value in of.network.state_dict().items())


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("keep", KEEPS)
def test_statistics_stay_and_equal_seeds_prune_alike(how, keep):
    before, one, again = small_mobilenet(), pruned(how, keep), pruned(how, keep)
    assert all(torch.equal(value, bits(one.network)[name]) for name, value in before.named_buffers())
    assert all(torch.equal(value, bits(one.network)[name]) for name, value in again.network.state_dict().items())
    assert nonzero(one.network) < nonzero(before)


@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize("how", ["magnitude", "random"])
def test_edges_leave_exactly_the_share_and_nothing_but_weights_goes(how, keep):
    of = pruned(how, keep)
    count = sum(weight.numel() for weight in of.weights.values())
    assert weights_left(of) == round(keep * count)
    others = {name: value for name, value in small_mobilenet().named_parameters() if name not in of.weights}
    assert all(torch.equal(value, of.network.get_parameter(name)) for name, value in others.items())


@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize("how", ["fanout", "dpp"])
def test_channels_leave_at_most_the_share_and_no_channel_more_would_fit(how, keep):
    of = pruned(how, keep)
    largest = max(of.weights[one.reader][:, : one.span].numel() * 3 + 9 for one in of.channels)
    assert of.budget - (1 if how == "fanout" else len(of.channels)) * largest <= weights_left(of) <= of.budget


@pytest.mark.parametrize("how", ["fanout", "dpp"])
def test_the_weights_that_are_left_are_counted_without_removing_anything(how):
    of = prunable(small_mobilenet(), 0.5)
    left = prune_network(of, how)
    assert Structure(of, of.channels).left([left[one.layer][0] for one in of.channels]) == weights_left(of)


def test_another_seed_draws_other_edges():
    one, other = (pruned("random", 0.5, seed=seed) for seed in (0, 1))
    assert not torch.equal(one.network.head.weight == 0, other.network.head.weight == 0)


def test_weights_that_are_zero_go_before_all_others():
    of = pruned("random", 0.5)
    smaller = prunable(of.network, 0.25)
    gone = {name: weight == 0 for name, weight in of.weights.items()}
    prune_network(smaller, "random")
    assert weights_left(smaller) == smaller.budget
    assert all((smaller.weights[name][places] == 0).all() for name, places in gone.items())


@pytest.mark.parametrize("keep", KEEPS)
def test_magnitude_is_torchs_global_l1_pruning(keep):
    theirs, of = small_mobilenet(), pruned("magnitude", keep)
    parts = [(theirs.get_submodule(name.removesuffix(".weight")), "weight") for name in of.weights]
    amount = sum(part.weight.numel() for part, _ in parts) - of.budget
    torch_prune.global_unstructured(parts, pruning_method=torch_prune.L1Unstructured, amount=amount)
    for (part, _), weight in zip(parts, of.weights.values(), strict=True):
        assert torch.equal(part.weight, weight)


@pytest.mark.parametrize("how", WAYS)
def test_numbers_that_are_not_finite_are_refused(how):
    network = two_layers()
    network[3].weight.data[0, 0] = math.nan
    with user_error("3.weight holds numbers that are not finite"):
        prune_network(prunable(network, 0.5), how)


def test_what_cannot_be_pruned_so_is_refused():
    with user_error("ResNet has no 1×1 convolution or linear layer that alone reads"):
        pruned("dpp", 0.5, make=lambda: seeded(lambda: ResNet(num_classes=4, in_channels=1, width=4, blocks=(1,))))
    with user_error("Sequential has no convolution or linear layer: nothing to prune"):
        pruned("magnitude", 0.5, make=lambda: nn.Sequential(nn.Flatten()))
    with user_error("not one weight would stay"):
        pruned("magnitude", 0.001, make=two_layers)
    with user_error("--keep 0.05: with one channel a layer 0.125 of the weights are left"):
        pruned("fanout", 0.05, make=two_layers)


def test_channels_that_nobody_reads_go_first_and_change_no_answer():
    of, x = prunable(two_layers(), 78 / 104), pixels()
    with torch.no_grad():
        of.network[3].weight[:, [2, 5]] = 0
        before = of.network(x)
        assert prune_network(of, "fanout") == {"3": (6, 8)}
        assert torch.equal(of.network(x), before)
    made = of.network[0].weight.flatten(1).abs().sum(dim=1)
    assert (made == 0).nonzero().flatten().tolist() == [2, 5]
    assert of.network[1].weight[[2, 5]].tolist() == of.network[1].bias[[2, 5]].tolist() == [0, 0]


def test_the_last_channel_of_a_layer_stays_though_nobody_reads_it():
    network = small_mobilenet()
    network.get_parameter("features.2.project.0.weight").data.zero_()
    left = prune_network(prunable(network, 0.5), "fanout")
    assert left["features.2.project.0"] == (1, 16)


def test_fan_out_in_numbers_and_where_a_channel_is_scaled():
    """3 × 0.5 × √(3² + 4²) = 7.5: a column of norm 3, γ/σ = 1/2 behind it, γ = 3 and β = 4 before it."""
    network = seeded(lambda: nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1), nn.BatchNorm2d(1)))
    of = prunable(network, 0.5)
    before, behind = network[1], network[3]
    with torch.no_grad():
        network[2].weight.copy_(torch.tensor([3.0, 0.1]).view(1, 2, 1, 1))
        before.weight[0], before.bias[0] = 3, 4
        behind.weight.fill_(1)
        behind.running_var.fill_(4 - behind.eps)
    (channels,) = of.channels
    found = fan_out(network, channels)
    assert found[0].item() == pytest.approx(7.5, rel=1e-6)
    with torch.no_grad():
        before.weight[0] *= 10
        before.bias[0] *= 10
        network[2].weight[:, 0] /= 10
    torch.testing.assert_close(fan_out(network, channels), found)


def linear(*weights):
    """Flatten, then linear layers without bias."""
    layers = [nn.Linear(len(rows[0]), len(rows), bias=False) for rows in weights]
    for layer, rows in zip(layers, weights, strict=True):
        layer.weight.data.copy_(torch.tensor(rows))
    return nn.Sequential(nn.Flatten(), *layers).eval()


def test_of_equal_fan_out_what_is_like_no_node_of_the_teacher_goes_first():
    """The student's channels are the four pixels, which are independent; the teacher knows the second and the last."""
    one = [[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1.0]]
    student = linear(one, [[1.0, 1.0, 1.0, 1.0]])
    teacher = linear([one[1], one[3]], [[1.0, 1.0]])
    of = prunable(student, 0.5, pixels(500, (1, 2, 2)), teacher=teacher)
    assert prune_network(of, "fanout") == {"2": (2, 4)}
    assert student[2].weight.tolist() == [[0, 1, 0, 1]]


def test_the_median_heuristic():
    """Two channels at any distance are its median: L = exp(−1) beside 1.01."""
    found = kernel(torch.tensor([[0.0, 3.0], [0.0, 4.0]], dtype=torch.float64))
    assert found.tolist() == [[1.01, pytest.approx(math.exp(-1))], [pytest.approx(math.exp(-1)), 1.01]]


def test_the_greedy_choice_is_that_of_determinants_computed_anew():
    activations = torch.randn(50, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    likeness, chosen = kernel(activations), []
    for _ in range(5):
        rest = [c for c in range(9) if c not in chosen]
        chosen.append(max(rest, key=lambda c: likeness[[*chosen, c]][:, [*chosen, c]].det().item()))
    assert diverse(likeness, 5).tolist() == sorted(chosen)


def test_of_two_equal_channels_one_stays_while_another_is_left():
    for seed in range(5):
        activations = torch.randn(200, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        activations[:, 4] = activations[:, 1]
        for count in range(2, 6):
            assert not {1, 4} <= set(diverse(kernel(activations), count).tolist())
        assert diverse(kernel(activations), 6).tolist() == list(range(6))


def test_least_squares_gives_the_same_answer_where_a_channel_is_a_combination():
    """Whichever of x₁, x₂ and x₁ + x₂ goes, the two others say what it said."""
    network = linear([[1.0, 0, 0, 0], [0, 1.0, 0, 0], [1.0, 1.0, 0, 0]], [[1.0, -2.0, 3.0], [0.5, 4.0, 1.0]])
    x = pixels(60, (1, 2, 2))
    before = network(x).detach()
    assert prune_network(prunable(network, 2 / 3, x), "dpp") == {"2": (2, 3)}
    assert (network[2].weight == 0).all(dim=0).sum() == 1
    torch.testing.assert_close(network(x).detach(), before, atol=1e-5, rtol=1e-5)
