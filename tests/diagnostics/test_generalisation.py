"""Nearest categories and nearest images of another class, where they are known by hand."""

import dataclasses

import pytest
import torch
from inspected_networks import images, inspected, linear
from torch import nn

from ard.attacks import L2, Linf
from ard.diagnostics.base import NotApplicableError
from ard.diagnostics.generalisation.nearest_category import nearest_category
from ard.diagnostics.generalisation.opposite_class_distance import opposite_class_distance
from ard.diagnostics.opposite_class import nearest_of_another_class

X, Y = images(60), torch.arange(60) % 3
OTHER = torch.rand(200, 1, 2, 2, generator=torch.Generator().manual_seed(1))


class NearestNeighbour(nn.Module):
    """Answers with the label of the nearest image that it knows; its linear layer lets a teacher see pixels."""

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x.flatten(1), y
        self.read = nn.Linear(4, 3)

    def forward(self, x):
        self.read(x.flatten(1))
        nearest = (x.flatten(1)[:, None] - self.x).square().sum(dim=2).argmin(dim=1)
        return nn.functional.one_hot(self.y[nearest], 3).float()


def test_nearest_category_of_a_nearest_neighbour_classifier_is_one():
    network = NearestNeighbour(X, Y)
    found = nearest_category(inspected(network, X, Y, other=(OTHER, None), teacher=network))
    assert found.values["pixels"] == found.values["teacher features"] == 1
    assert found.n == 200
    assert found.values["chance"] == pytest.approx(1 / 3)
    assert found.settings["chance, lower end"] < 1 / 3 < found.settings["chance, upper end"] < 0.42


def test_nearest_category_in_the_features_of_a_teacher():
    """The teacher reads pixels; were it to read minus the pixels, other images would be nearest to the same ones."""
    student = NearestNeighbour(X, Y)
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
    with torch.no_grad():
        teacher[1].weight.copy_(torch.diag(torch.tensor([1.0, 0, 0, 0])))  # of the first pixel alone
        teacher[1].bias.zero_()
    found = nearest_category(inspected(student, X, Y, other=(OTHER, None), teacher=teacher.eval())).values
    first = Y[(OTHER.flatten(1)[:, None, 0] - X.flatten(1)[:, 0]).abs().argmin(dim=1)]
    expected = (student(OTHER).argmax(dim=1) == first).double().mean()
    assert found["teacher features"] == pytest.approx(float(expected))
    assert found["teacher features"] < 0.7


def test_without_other_images_black_and_white_are_exchanged():
    network = linear(torch.eye(4)[:3])  # answers with the brightest of three pixels
    found = nearest_category(inspected(network, X, Y))
    near = ((1 - X).flatten(1)[:, None] - X.flatten(1)).square().sum(dim=2).argmin(dim=1)
    expected = (X.flatten(1)[:, :3].argmin(dim=1) == Y[near]).double().mean()
    assert found.values["pixels"] == pytest.approx(float(expected))
    assert found.values["pixels"] != pytest.approx(float((network(X).argmax(dim=1) == Y).double().mean()))
    assert found.settings["images"] == "1 - x"


def test_an_answer_that_is_always_the_same_gets_the_share_of_its_label():
    found = nearest_category(inspected(linear(torch.zeros(3, 4), torch.tensor([1.0, 0, 0])), X, Y, other=(OTHER, None)))
    assert found.values["pixels"] == pytest.approx(found.values["pixels, by label counts"])


@pytest.mark.parametrize(("ball", "expected"), [(Linf(0.1), 0.2), (L2(0.1), 0.2 * 2**0.5)])
def test_opposite_class_distance_by_hand(ball, expected):
    x = torch.zeros(4, 1, 2, 2)
    x[1, 0, 0] = 0.2  # two pixels, the other class
    x[2], x[3] = 0.9, 0.05
    of = inspected(linear(torch.ones(2, 4)), x, torch.tensor([0, 1, 1, 0]))
    of.ball = ball
    assert nearest_of_another_class(of.x, of.y, ball)[0] == pytest.approx(expected)
    found = opposite_class_distance(of)
    assert found.values["smallest"] == pytest.approx(0.15 if isinstance(ball, Linf) else (2 * 0.15**2 + 2 * 0.05**2) ** 0.5)
    assert found.values["same image, another label"] == 0
    assert found.values["share within 2 eps"] == (0.75 if isinstance(ball, Linf) else 0)


def test_opposite_class_distance_is_that_of_every_pair(monkeypatch):
    monkeypatch.setattr("ard.diagnostics.opposite_class.ROWS", 7)
    distances = (X[:, None] - X).abs().amax(dim=(2, 3, 4)).masked_fill(Y[:, None] == Y, torch.inf).amin(dim=1)
    assert torch.equal(nearest_of_another_class(X, Y, Linf(0.1)), distances)


def test_the_same_image_with_two_labels_is_counted():
    of = inspected(linear(torch.ones(2, 4)), torch.cat([X, X[:1]]), torch.cat([Y, Y[:1] + 1]))
    found = opposite_class_distance(of).values
    assert (found["same image, another label"], found["smallest"]) == (2, 0)
    assert opposite_class_distance(dataclasses.replace(of, ball=L2(0.1))).values["same image, another label"] == 2


def test_one_class_alone_has_no_other():
    with pytest.raises(NotApplicableError, match="one class"):
        opposite_class_distance(inspected(linear(torch.ones(2, 4)), X, 0 * Y))
