"""Alignment within a class where it is known by hand."""

import pytest
import torch
from inspected_networks import images, inspected, linear

from ard.diagnostics.base import NotApplicableError
from ard.diagnostics.memorisation.class_alignment import class_alignment


def reading(pixels):
    """A network whose last layer reads pixels (n, 1, 2, 2) as they are, with three equal logits."""
    return inspected(linear(torch.zeros(3, 4)), pixels.view(-1, 1, 2, 2), torch.zeros(len(pixels), dtype=torch.long))


def test_equal_representations_are_aligned_and_orthogonal_ones_are_not():
    of = reading(0.5 * torch.ones(5, 4))
    assert class_alignment(of).values["representations, clean"] == pytest.approx(1)
    of = reading(0.5 * torch.eye(4))
    assert class_alignment(of).values["representations, clean"] == pytest.approx(0, abs=1e-6)


def test_logit_gradients_of_equal_answers_are_aligned_and_classes_are_averaged():
    """Equal logits: p − onehot is the same for a class. Of two classes one is orthogonal, the other is one image twice."""
    x = torch.cat([torch.eye(4)[:2], torch.ones(2, 4)]).view(4, 1, 2, 2) * 0.5
    found = class_alignment(inspected(linear(torch.zeros(3, 4)), x, torch.tensor([0, 0, 1, 1]))).values
    assert found["logit gradients, clean"] == pytest.approx(1)
    assert found["representations, clean"] == pytest.approx(0.5)


THREE = torch.tensor([[1.0, -2.0, 0.5, 0.0], [0.0, 1.0, 0.0, -1.0], [2.0, 0.0, 0.0, 1.0]])


def omega(v):
    """The mean inner product of two different rows, in units of their mean length."""
    inner = v.double() @ v.double().T
    return float((inner.sum() - inner.trace()) / (len(v) * (len(v) - 1)) / v.double().norm(dim=1).mean() ** 2)


@pytest.mark.parametrize("kind", ["clean", "attacked"])
def test_clean_and_attacked_images_are_looked_at_and_logit_gradients_are_p_minus_onehot(kind):
    weight, bias = 5 * THREE, -2.5 * THREE.sum(dim=1)
    of = inspected(linear(weight, bias), images(12), torch.ones(12, dtype=torch.long))
    seen = {"clean": of.x, "attacked": of.attacked}[kind].flatten(1)
    pull = (seen @ weight.T + bias).softmax(dim=1) - torch.tensor([0.0, 1, 0])
    found = class_alignment(of).values
    assert found[f"representations, {kind}"] == pytest.approx(omega(seen), rel=1e-5)
    assert found[f"logit gradients, {kind}"] == pytest.approx(omega(pull), rel=1e-5)


def test_a_class_of_one_image_is_left_out():
    of = reading(torch.cat([0.5 * torch.ones(5, 4), torch.eye(4)[:1]]))
    of.y[5] = 1
    found = class_alignment(of)
    assert (found.values["representations, clean"], found.settings["classes"]) == (pytest.approx(1), 1)


def test_classes_of_one_image_each_say_nothing():
    with pytest.raises(NotApplicableError, match="two images"):
        class_alignment(inspected(linear(torch.ones(3, 4)), images(3), torch.arange(3)))
