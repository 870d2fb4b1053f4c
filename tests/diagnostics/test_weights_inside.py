"""The values of the diagnostics of weights where they are known by hand, and an oracle for the spectra."""

import copy
import math

import numpy as np
import pytest
import torch
from inspected_networks import images, inspected, linear
from tiny import tiny_net, user_error
from torch import nn

from ard.diagnostics.base import NotApplicableError
from ard.diagnostics.layers import layers_of
from ard.diagnostics.weights.product_norm import product_norm
from ard.diagnostics.weights.spectra import spectra, squared_singular_values
from ard.diagnostics.weights.weight_norm import weight_norm
from ard.models import MobileNetV2, WideResNet


def of(network, shape=(1, 2, 2), count=2):
    return inspected(network, images(count, shape), torch.zeros(count, dtype=torch.long))


def conv(weight, **options):
    """A network that is this convolution, answering with the means of its channels; weight (out, in / groups, k, k)."""
    outputs, inputs, *kernel = weight.shape
    layer = nn.Conv2d(inputs * options.get("groups", 1), outputs, kernel, bias=False, **options)
    with torch.no_grad():
        layer.weight.copy_(weight)
    return nn.Sequential(layer, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def only(network, shape):
    (numbers,) = (numbers for name, numbers in spectra(of(network, shape)).layers.items() if name == "0")
    return numbers


def orthogonal(size):
    return torch.linalg.qr(torch.randn(size, size, generator=torch.Generator().manual_seed(0))).Q


@pytest.mark.parametrize("stride", [1, 2])
def test_a_delta_kernel_times_an_orthogonal_matrix_has_full_rank(stride):
    """Without a stride it is 2 times an isometry; with one it passes every second pixel on, 2 times as large."""
    weight = torch.zeros(4, 4, 3, 3)
    weight[:, :, 1, 1] = 2 * orthogonal(4)
    numbers = only(conv(weight, padding=1, stride=stride), (4, 6, 6))
    assert numbers == pytest.approx(
        {"largest singular value": 2, "effective rank": 4, "stable rank": 4, "full": 4}, rel=1e-5
    )


def test_a_kernel_of_rank_one_has_rank_one_at_every_frequency():
    out, into, pixels = (torch.randn(size, generator=torch.Generator().manual_seed(size)) for size in (5, 3, 9))
    weight = torch.einsum("o,i,p->oip", out, into, pixels).view(5, 3, 3, 3)
    numbers = only(conv(weight), (3, 7, 7))
    assert (numbers["effective rank"], numbers["stable rank"]) == pytest.approx((1, 1), abs=1e-4)
    assert numbers["full"] == 3


def test_a_depthwise_layer_has_a_rank_for_each_channel_that_passes_something():
    weight = torch.zeros(4, 1, 3, 3)
    weight[:3, 0, 1, 1] = 1
    numbers = only(conv(weight, groups=4), (4, 5, 5))
    assert numbers == pytest.approx({"largest singular value": 1, "effective rank": 3, "stable rank": 3, "full": 4})


def circulant(weight, grid, stride, dilation, groups):
    """The matrix of the layer as a circular convolution of one image: column j is its answer to the j-th basis image."""
    outputs, inputs, *kernel = weight.shape
    inputs *= groups
    places = [(i, a, b) for i in range(inputs) for a in range(grid[0]) for b in range(grid[1])]
    rows = [(o, a, b) for o in range(outputs) for a in range(0, grid[0], stride) for b in range(0, grid[1], stride)]
    matrix, column = np.zeros((len(rows), len(places))), {place: number for number, place in enumerate(places)}
    for row, (o, a, b) in enumerate(rows):
        first = o // (outputs // groups) * (inputs // groups)
        for i in range(inputs // groups):
            for p in range(kernel[0]):
                for q in range(kernel[1]):
                    pixel = ((a + dilation * p) % grid[0], (b + dilation * q) % grid[1])
                    matrix[row, column[(first + i, *pixel)]] += float(weight[o, i, p, q])
    return matrix


@pytest.mark.parametrize(
    ("channels", "kernel", "grid", "stride", "dilation", "groups"),
    [
        ((3, 2), 3, (6, 4), 1, 1, 1),
        ((3, 4), 3, (5, 5), 1, 1, 1),
        ((3, 2), 3, (6, 4), 2, 1, 1),
        ((9, 2), 3, (4, 4), 2, 1, 1),
        ((3, 2), 3, (2, 2), 1, 1, 1),
        ((4, 2), 3, (4, 6), 1, 2, 1),
        ((4, 2), 3, (4, 4), 2, 1, 2),
        ((4, 1), 3, (6, 4), 2, 1, 4),
        ((3, 2), 1, (4, 4), 2, 1, 1),
    ],
    ids=["plain", "odd", "stride", "stride, more out", "larger than its grid", "dilation", "groups", "depthwise", "pixel"],
)
def test_spectra_are_those_of_the_whole_matrix(channels, kernel, grid, stride, dilation, groups):
    weight = torch.randn(*channels, kernel, kernel, generator=torch.Generator().manual_seed(0))
    network = conv(weight, stride=stride, dilation=dilation, groups=groups, padding=dilation * (kernel // 2))
    (layer,) = layers_of(network, torch.rand(1, channels[1] * groups, *grid))
    squares, counts = squared_singular_values(layer)
    found = squares.repeat_interleave(counts.long(), dim=0).flatten().sort().values
    matrix = circulant(weight, grid, stride, dilation, groups)
    expected = np.sort(np.linalg.svd(matrix, compute_uv=False) ** 2)
    if kernel == 1:  # the same at all frequencies, and no more than the pixel's own
        found = found.repeat_interleave(len(matrix) // channels[0])
        assert np.allclose(expected[: -len(found)], 0)
    np.testing.assert_allclose(found, expected[-len(found) :], rtol=1e-3, atol=1e-4)
    assert kernel == 1 or len(found) == len(expected)


def test_a_frequency_counts_by_its_energy():
    """Both frequencies of a row of two pixels, on two channels: the sum is of rank one, the difference of rank two."""
    weight = torch.zeros(2, 2, 1, 2)
    together, apart = torch.tensor([[3.0, 0], [0, 0]]), torch.eye(2)
    weight[..., 0, 0], weight[..., 0, 1] = (together + apart) / 2, (together - apart) / 2
    numbers = only(conv(weight), (2, 1, 2))
    assert numbers["effective rank"] == pytest.approx((9 * 1 + 2 * 2) / 11, rel=1e-5)


def test_batch_norm_is_folded_into_the_spectrum():
    network = nn.Sequential(*conv(torch.eye(2)[:, :, None, None])[:1], nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2))
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([3.0, 0.5]))
        network[1].running_var.copy_(torch.tensor([4.0, 1.0]))
    assert spectra(of(network, (2, 2, 2))).layers["0"]["largest singular value"] == pytest.approx(1.5, rel=1e-4)


def test_a_layer_of_zeros_has_rank_zero_and_no_layer_is_no_spectrum():
    assert only(conv(torch.zeros(2, 2, 3, 3)), (2, 4, 4)) == pytest.approx(
        {"largest singular value": 0, "effective rank": 0, "stable rank": 0, "full": 2}
    )
    with pytest.raises(NotApplicableError, match="no Conv2d or Linear"):
        spectra(of(nn.Flatten()))


def test_weights_that_are_not_finite_are_named():
    with user_error("layer 1 has weights that are not finite"):
        spectra(of(linear(torch.full((2, 4), math.nan))))


def test_layers_know_the_grid_that_they_see():
    network = MobileNetV2(num_classes=3, in_channels=1, width=0.25, head=8, stages=[[2, 8, 1, 1], [2, 16, 1, 2]]).eval()
    layers = {layer.name: layer for layer in layers_of(network, torch.rand(1, 1, 8, 8))}
    strided = layers["features.3.depthwise.0"]
    assert (strided.grid, strided.stride, strided.groups) == ((8, 8), (2, 2), 16)
    assert layers["features.3.project.0"].grid == (4, 4)
    assert [layer.name for layer in layers.values() if layer.norm] == []


def test_a_norm_before_its_convolution_is_a_layer_of_its_own():
    network = WideResNet(num_classes=3, depth=10, widen=1, in_channels=1).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.running_var, 0.01)  # one that does next to nothing is folded wherever it stands
    norms = {layer.name for layer in layers_of(network, torch.rand(1, 1, 8, 8)) if layer.norm}
    assert norms == {f"blocks.{block}.norm1" for block in range(3)} | {"norm"}


def test_weight_norm_of_weights_and_of_everything():
    network = linear(torch.tensor([[3.0, 0, 0, 0], [0, 0, 4, 0]]), torch.tensor([12.0, 0]))
    found = weight_norm(of(network))
    assert found.values == {"weights": 5, "all parameters": 13}
    assert found.layers == {"1.weight": {"norm": 5}}


def chain():
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).eval()


def log_product(network, shape=(1, 2, 2)):
    return product_norm(of(network, shape)).values["log of the product"]


def test_product_norm_is_that_of_the_layers():
    network = chain()
    by_hand = network[1].weight.detach().norm() * network[3].weight.detach().norm()
    assert log_product(network) == pytest.approx(math.log(by_hand))


def test_product_norm_does_not_change_with_scales_that_the_function_does_not_feel():
    network = chain()
    scaled = copy.deepcopy(network)
    with torch.no_grad():
        scaled[1].weight *= 7
        scaled[1].bias *= 7
        scaled[3].weight /= 7
        x = images(6)
        torch.testing.assert_close(scaled(x), network(x))
    assert weight_norm(of(scaled)).values["weights"] > 2 * weight_norm(of(network)).values["weights"]
    assert log_product(scaled) == pytest.approx(log_product(network), abs=1e-6)


def test_product_norm_does_not_change_with_the_scale_before_a_batch_norm():
    network = tiny_net().eval()
    network[1].eps = 0.0
    scaled = copy.deepcopy(network)
    with torch.no_grad():
        scaled[0].weight *= 7
        scaled[0].bias *= 7
        scaled[1].running_mean *= 7
        scaled[1].running_var *= 49
        x = images(6, (1, 6, 6))
        torch.testing.assert_close(scaled(x), network(x))
    assert log_product(scaled, (1, 6, 6)) == pytest.approx(log_product(network, (1, 6, 6)), abs=1e-5)


def test_product_norm_bounds_the_slope_of_linear_layers_and_relus():
    network = chain()
    slopes = torch.autograd.functional.jacobian(lambda x: network(x).sum(dim=0), images(20, (1, 2, 2))).flatten(2)
    largest = torch.linalg.matrix_norm(slopes.transpose(0, 1), 2).max()
    assert 0 < largest < math.exp(log_product(network))


def test_product_norm_refuses_a_layer_of_zeros_and_norms_of_each_image():
    with pytest.raises(NotApplicableError, match="layer 1 is all zeros"):
        log_product(linear(torch.zeros(2, 4)))
    with pytest.raises(NotApplicableError, match="LayerNorm"):
        log_product(nn.Sequential(nn.Flatten(), nn.LayerNorm(4), nn.Linear(4, 2)))
