"""The values of the landscape diagnostics where they are known by hand."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from inspected_networks import images, inspected, linear
from tiny import generator, tiny_net, user_error
from torch import nn

from ard.attacks import L2
from ard.core.same_bits import copied, same_bits, tensors_of
from ard.diagnostics.base import NotApplicableError
from ard.diagnostics.landscape.basin_radius import basin_radius
from ard.diagnostics.landscape.input_plane import input_plane
from ard.diagnostics.landscape.loss_line import loss_line
from ard.diagnostics.landscape.loss_plane import loss_plane
from ard.diagnostics.landscape.sharpness import sharpness
from ard.diagnostics.other_weights import along, filter_normalised, loss_and_accuracy

W = torch.tensor([[1.0, -2.0, 0.5, 0.0], [0.0, 1.0, 0.0, -1.0]])


def zeros(n):
    return torch.zeros(n, dtype=torch.long)


def small(n=12, seed=0):
    """A network with BatchNorm that has 12 images of four classes to look at."""
    return inspected(tiny_net(seed), images(n, (1, 6, 6)), torch.arange(n) % 4)


def test_each_filter_of_a_direction_is_as_long_as_that_of_the_weights():
    network = tiny_net()
    direction = filter_normalised(network, generator())
    assert set(direction) == {"0.weight", "4.weight"}  # no bias, no BatchNorm
    for name, moved in direction.items():
        weight = network.get_parameter(name).detach()
        torch.testing.assert_close(moved.flatten(1).norm(dim=1), weight.flatten(1).norm(dim=1))
        assert (F.cosine_similarity(moved.flatten(), weight.flatten(), dim=0)).abs() < 0.9


def test_a_filter_of_zeros_stays():
    direction = filter_normalised(linear(torch.tensor([[0.0, 0, 0, 0], [1, 0, 0, 0]])), generator())
    assert (direction["1.weight"][0] == 0).all()
    assert direction["1.weight"][1].norm() == pytest.approx(1)


def test_moved_weights_are_used_and_those_of_the_network_stay_to_the_bit():
    of = small()
    before = copied(tensors_of(of.student))
    d, e = (filter_normalised(of.student, generator(seed)) for seed in (0, 1))
    loss, _ = loss_and_accuracy(of.student, along(of.student, (0.5, d), (-2.0, e)), of.x, of.y)
    assert same_bits(before, tensors_of(of.student))
    with torch.no_grad():
        for name in d:
            of.student.get_parameter(name).add_(0.5 * d[name] - 2 * e[name])
        assert loss == pytest.approx(float(F.cross_entropy(of.student(of.x), of.y)), rel=1e-5)


def test_a_loss_that_is_no_number_is_refused():
    with user_error("the loss is nan"):
        loss_and_accuracy(linear(torch.full((2, 4), math.nan)), {}, images(), zeros(8))


@pytest.mark.parametrize("network", [small().student, linear(W)])
def test_sharpness_is_the_mean_rise_over_eight_directions(network):
    of = small() if isinstance(network[0], nn.Conv2d) else inspected(network, images(), zeros(8))
    drawn, rises = of.generator("sharpness"), []
    for _ in range(8):
        direction, moved = filter_normalised(of.student, drawn), {}
        for name, parameter in of.student.named_parameters():
            moved[name] = parameter.detach() + 0.1 * direction.get(name, 0)
        answers = torch.func.functional_call(of.student, moved, (of.attacked,))
        rises.append(F.cross_entropy(answers, of.y) - F.cross_entropy(of.student(of.attacked), of.y))
    found = sharpness(of).values
    assert found["robust loss"] == pytest.approx(float(torch.stack(rises).detach().mean()), abs=1e-5)
    assert found["clean loss"] != found["robust loss"]


def test_sharpness_of_a_constant_network_is_zero():
    assert set(sharpness(inspected(linear(0 * W), images(), zeros(8))).values.values()) == {0.0}


def test_sharpness_does_not_change_with_the_scale_before_a_batch_norm():
    of, scaled = small(), small()
    for one in (of, scaled):
        one.student[1].eps = 0.0
    with torch.no_grad():
        for value, factor in zip(
            (*scaled.student[0].parameters(), *scaled.student[1].buffers()), (8, 8, 8, 64), strict=False
        ):
            value *= factor
    assert sharpness(scaled).values == pytest.approx(sharpness(of).values, rel=1e-3, abs=1e-6)


def test_the_line_goes_through_the_loss_itself_and_to_both_ends():
    of = small()
    found = loss_line(of)
    curve, middle = found.curves["loss"], 25
    assert (len(curve.x), curve.x[0], curve.x[middle], curve.x[-1], found.n) == (51, -1, 0, 1, 12)
    for kind, x in (("clean", of.x), ("robust", of.attacked)):
        assert curve.lines[kind][middle] == pytest.approx(float(F.cross_entropy(of.student(x), of.y).detach()), rel=1e-5)
    direction = filter_normalised(of.student, of.generator("loss line"))
    end, right = loss_and_accuracy(of.student, along(of.student, (1.0, direction)), of.x, of.y)
    assert (curve.lines["clean"][-1], found.curves["accuracy"].lines["clean"][-1]) == (end, right)
    below = sum(loss < math.log(4) for loss in curve.lines["clean"]) / 51
    assert found.values["clean, share below a guess"] == below


def test_lines_look_at_some_images_unless_all_are_wanted():
    x, y = images(300), zeros(300)
    assert [loss_line(inspected(linear(W), x, y, exact=exact)).n for exact in (False, True)] == [200, 300]


def test_the_plane_is_read_by_row_and_column():
    of = small()
    plane = loss_plane(of).planes["robust loss"]
    drawn = of.generator("loss plane")
    d, e = (filter_normalised(of.student, drawn) for _ in range(2))
    for row, column in ((0, 20), (10, 10), (3, 7)):
        moved = along(of.student, (plane.x[column], d), (plane.y[row], e))
        assert plane.values[row][column] == pytest.approx(loss_and_accuracy(of.student, moved, of.attacked, of.y)[0])
    assert (plane.x[10], plane.x[-1], len(plane.values), len(plane.values[0])) == (0, 1, 21, 21)


def test_the_loss_of_a_linear_network_rises_along_the_gradient_by_hand():
    """At a: the mean of log(1 + exp(−(m − a eps ‖w_1 − w_0‖_1))); eps 0.05, images in [0.4, 0.6], so nothing is cut off."""
    x, y = images(40), zeros(40) + 1
    found = input_plane(inspected(linear(W), x, y, eps=0.05))
    m = (x.flatten(1) @ (W[1] - W[0])).double()
    plane, right = found.planes["loss"], found.planes["accuracy"].values[10]
    assert plane.x == pytest.approx([-2 + 0.2 * place for place in range(21)])
    for column in (0, 10, 15, 20):
        at = m - plane.x[column] * 0.05 * float((W[1] - W[0]).abs().sum())
        assert plane.values[10][column] == pytest.approx(float(F.softplus(-at).mean()), rel=1e-4)
        assert right[column] == float((at > 0).double().mean())
    assert right[14] > right[15] > right[20]
    assert found.values == {"accuracy at one step": right[15], "lowest on the way": right[14], "dip": 0}


def test_the_input_plane_uses_the_norm_of_the_ball():
    x, y = images(40), zeros(40)
    of = replace(inspected(linear(W), x, y), ball=L2(0.05))
    at = (x.flatten(1) @ (W[0] - W[1])).double() - 2 * 0.05 * float((W[0] - W[1]).norm())
    assert input_plane(of).planes["loss"].values[10][20] == pytest.approx(float(F.softplus(-at).mean()), rel=1e-4)


class Watchful(nn.Module):
    """Remembers how far the pixels go that it is shown."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen += [float(x.detach().min()), float(x.detach().max())]
        return x.flatten(1)[:, :2]


def test_pixels_of_the_plane_are_pixels():
    of = inspected(Watchful(), torch.tensor([0.0, 1, 0.05, 0.95]).view(1, 1, 2, 2), zeros(1))
    input_plane(of)
    assert (min(of.student.seen), max(of.student.seen)) == (0, 1)


class Waves(nn.Module):
    """Right where the mean grey is near 0.5, and again a radius away; wrong half-way, as after catastrophic overfitting."""

    def __init__(self, radius):
        super().__init__()
        self.radius = radius

    def forward(self, x):
        waves = torch.cos(2 * math.pi * (x.flatten(1).mean(dim=1) - 0.5) / self.radius + 0.3)
        return torch.stack([waves, -waves], dim=1)


def test_catastrophic_overfitting_is_a_dip():
    of = inspected(Waves(0.05), torch.full((8, 1, 2, 2), 0.5), zeros(8), eps=0.05)
    assert input_plane(of).values == {"accuracy at one step": 1, "lowest on the way": 0, "dip": 1}


def test_the_basin_of_a_network_of_one_weight_by_hand():
    """Logits (w x, b), w = 2000 and b = 1500 on images x = 1 of class 0 and x = 0.5 of class 1; a direction is ± w.

    At w (1 + t) the margins are w (0.25 + t) and w (0.25 − t / 2), so a side ends where one of them is just below 0: at
    t = −0.25 or t = 0.5. Their median is the mean of both, as every direction has both sides.
    """
    network = nn.Sequential(nn.Flatten(), nn.Linear(1, 2))
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([[2000.0], [0]]))
        network[1].bias.copy_(torch.tensor([0, 1500.0]))
    of = inspected(network, torch.tensor([1, 0.5]).view(2, 1, 1, 1), torch.tensor([0, 1]))
    found = basin_radius(of).values
    assert found == {"median radius": pytest.approx(0.375, abs=0.01), "share of rays without an edge": 0}


def test_a_basin_without_an_edge_and_none_at_all():
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        network[1].weight.zero_()
        network[1].bias.copy_(torch.tensor([5.0, 0]))
    assert basin_radius(inspected(network, images(), zeros(8))).values == {
        "median radius": 2,
        "share of rays without an edge": 1,
    }
    with pytest.raises(NotApplicableError, match="that of a guess: there is no basin"):
        basin_radius(inspected(network, images(), 1 - zeros(8)))
