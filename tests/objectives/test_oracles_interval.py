"""Interval bounds and the term made of them against matrices in numpy; bounds that must hold for every image of the box."""

import numpy as np
import pytest
import torch
from tiny import images, labels, run_facts, tiny_net, user_error
from torch import nn

from ard.attacks import Linf
from ard.models import MobileNetV2, Normalized, ResNet
from ard.models.intervals import interval_bounds
from ard.objectives.interval_sensitivity import IntervalSensitivity

X, Y = (0.3 + 0.4 * images(5)).double(), labels(5)
EPS = 0.125  # exact in float32, in which it is kept


def matrix(layer):
    """A convolution as the matrix that it is: what it answers to each pixel alone, without its bias."""
    with torch.no_grad():
        pixels = torch.eye(36, dtype=torch.float64).view(36, 1, 6, 6)
        return (layer(pixels) - layer(torch.zeros_like(pixels))).flatten(1).T.numpy()


def widths_by_numpy(net, x, radius, *, train=False):
    """Upper less lower bound of tiny_net's logits: convolution, BatchNorm, softplus, linear layer."""
    conv, norm, _, _, linear = (layer.double() for layer in net)
    wide, flat = matrix(conv), x.flatten(1).numpy()
    bias = np.repeat(conv.bias.detach().numpy(), 36)
    middle, around = flat @ wide.T + bias, np.full_like(flat, radius) @ np.abs(wide).T
    mean, var = norm.running_mean.numpy(), norm.running_var.numpy()
    if train:
        channels = middle.reshape(-1, 3, 36).transpose(1, 0, 2).reshape(3, -1)
        mean, var = channels.mean(axis=1), channels.var(axis=1)
    scale, shift = norm.weight.detach().numpy() / np.sqrt(var + norm.eps), norm.bias.detach().numpy()
    middle = (middle - np.repeat(mean, 36)) * np.repeat(scale, 36) + np.repeat(shift, 36)
    around = around * np.repeat(np.abs(scale), 36)
    lower, upper = (np.log1p(np.exp(middle + sign * around)) for sign in (-1, 1))
    return (upper - lower) @ np.abs(linear.weight.detach().numpy()).T


@pytest.mark.parametrize("train", [False, True])
def test_the_term_is_the_mean_logarithm_of_the_widths(train):
    student = tiny_net(0, activation=nn.Softplus).double().train(train)
    with torch.no_grad():
        student[1].weight[1] *= -1
    objective = IntervalSensitivity(strength=0.3, reach=0.5).double()
    objective.setup(run_facts(student=student.float(), threat=Linf(eps=EPS)))
    student.double()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    attack_loss, training_loss = objective(student, None, X, Y)
    expected = 0.3 * np.log(widths_by_numpy(student, X, EPS / 2, train=train)).mean()
    assert training_loss(X)["interval"].item() == pytest.approx(expected, rel=1e-9)
    assert student.training == train
    student.eval()
    assert attack_loss(X).shape == (5,)
    changed = {name for name, value in student.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.partition(".")[2] for name in changed} <= {"running_mean", "running_var", "num_batches_tracked"}
    counted = [value for name, value in student.state_dict().items() if "batches" in name]
    assert counted[0] - before["1.num_batches_tracked"] == train, "by PGD-AT's own pass alone"


def test_the_width_of_a_linear_network_is_known():
    student = nn.Sequential(nn.Flatten(), nn.Linear(36, 4)).double()
    bounds = interval_bounds(student, X, 0.1)
    expected = 0.2 * student[1].weight.abs().sum(dim=1)
    torch.testing.assert_close(bounds.upper - bounds.lower, expected.expand(5, 4))


def test_pixels_stay_between_0_and_1():
    student = nn.Sequential(nn.Flatten(), nn.Linear(36, 4)).double()
    bounds = interval_bounds(student, torch.zeros_like(X), 0.1)
    torch.testing.assert_close(bounds.upper - bounds.lower, 0.1 * student[1].weight.abs().sum(dim=1).expand(5, 4))


NETWORKS = {
    "MobileNetV2": lambda: MobileNetV2(
        num_classes=4, in_channels=1, width=0.5, stages=[[2, 8, 2, 1], [2, 16, 1, 2]], head=16
    ),
    "ResNet": lambda: ResNet(num_classes=4, in_channels=1, width=4, blocks=[1, 1]),
    "Normalized": lambda: Normalized.around(
        ResNet(num_classes=4, in_channels=1, width=4, blocks=[1]), mean=[0.5], std=[0.2]
    ),
    "others": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.LeakyReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(4, 4),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_no_image_of_the_box_leaves_the_bounds(name):
    torch.manual_seed(0)
    student = NETWORKS[name]().double().eval()
    bounds = interval_bounds(student, X, 0.05)
    assert (bounds.upper > bounds.lower).all()
    for _ in range(20):
        inside = X + 0.1 * (torch.rand_like(X) - 0.5).sign() * torch.rand(())  # corners of smaller boxes
        answers = student(X + (inside - X).clamp(-0.05, 0.05))
        assert (answers <= bounds.upper).all()
        assert (answers >= bounds.lower).all()
    exact = interval_bounds(student, X, 0.0)
    torch.testing.assert_close(exact.lower, student(X))
    torch.testing.assert_close(exact.upper, student(X))


def test_a_scale_before_batch_norm_is_nothing_to_the_term():
    student = tiny_net(0).double().train()
    student[1].eps = 1e-30
    before = interval_bounds(student, X, 0.1, of_batch=True)
    with torch.no_grad():
        for parameter in student[0].parameters():
            parameter.mul_(5)
    after = interval_bounds(student, X, 0.1, of_batch=True)
    torch.testing.assert_close(after.upper, before.upper)


class Attention(nn.Module):
    def forward(self, x):
        return x.flatten(2).softmax(dim=-1).mean(dim=1)


def test_what_has_no_bounds_is_refused_before_training():
    for student, line in (
        (MobileNetV2(num_classes=4, in_channels=1), "they say nothing: expected a network of fewer layers"),
        (Attention(), "no interval bounds for softmax: expected a network of convolutions"),
        (nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.LayerNorm(4)), "no interval bounds for layer_norm"),
    ):
        with user_error(line):
            IntervalSensitivity().setup(run_facts(student=student))
    for options in ({"strength": -1}, {"reach": 0}):
        with user_error("expected"):
            IntervalSensitivity(**options)
