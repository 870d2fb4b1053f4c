"""Likeness to a teacher where it is known by hand."""

import numpy as np
import pytest
import torch
from inspected_networks import images, inspected, linear
from torch import nn

from ard.diagnostics import likeness
from ard.diagnostics.activations import ActivatedLayer
from ard.diagnostics.base import NotApplicableError
from ard.diagnostics.likeness import layer_likeness, paired
from ard.diagnostics.teacher.agreement import agreement
from ard.diagnostics.teacher.batchnorm_bias import batchnorm_bias
from ard.diagnostics.teacher.linear_cka import linear_cka
from ard.diagnostics.teacher.node_correlation import node_correlation
from ard.models.combined_teachers import Ensemble
from ard.models.frozen import Frozen

HIDDEN = 6
X, Y = images(300, (1, 2, 2)), torch.arange(300) % 3


def dense(weight, head=None):
    """(1, 2, 2) -> ReLU of weight x, each about half of the time off -> three logits."""
    first, second = nn.Linear(4, len(weight)), nn.Linear(len(weight), 3)
    with torch.no_grad():
        first.weight.copy_(weight)
        first.bias.copy_(-0.5 * weight.sum(dim=1))
        second.weight.copy_(torch.ones(3, len(weight)) if head is None else head)
    return nn.Sequential(nn.Flatten(), first, nn.ReLU(), second).eval()


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


TEACHER = normal(HIDDEN, 4)
ORDER, SCALES = torch.tensor([3, 0, 5, 1, 4, 2]), torch.tensor([0.1, 10, 1, 3, 0.3, 2.0])


def likened(teacher, student, x=X, **more):
    return inspected(student, x, Y[: len(x)], teacher=teacher, **more)


def test_a_permuted_and_rescaled_teacher_is_found_node_for_node():
    found = node_correlation(likened(dense(TEACHER), dense(SCALES[:, None] * TEACHER[ORDER])))
    for kind in ("clean", "attacked", "noise"):
        assert found.values[f"mean best match, {kind}"] == pytest.approx(1, abs=1e-5)
        assert found.layers["2 / 2"][f"10th percentile, {kind}"] == pytest.approx(1, abs=1e-5)
        assert found.values[f"coverage, {kind}"] == 1
    assert found.values["coverage of strong"] == found.values["coverage of weak"] == 1
    assert found.values["mean best match, shuffled"] < 0.3


def test_correlations_and_cka_are_those_of_numpy():
    teacher, student = dense(TEACHER), dense(normal(9, 4, seed=1))
    (layer,) = layer_likeness(likened(teacher, student), "clean")
    t, s = (network[:3](X).detach().double().numpy() for network in (teacher, student))
    rho = np.corrcoef(t.T, s.T)[:HIDDEN, HIDDEN:]
    assert layer.best.numpy() == pytest.approx(rho.max(axis=1), abs=1e-5)
    centred = np.eye(300) - 1 / 300  # Kornblith's form, over the similarity of images
    k, m = (centred @ z @ z.T @ centred for z in (t, s))
    assert layer.cka == pytest.approx((k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum()), abs=1e-5)
    strength = np.full(HIDDEN, np.sqrt(3)) * t.std(axis=0)
    assert layer.strength.numpy() == pytest.approx(strength, rel=1e-4)


def test_samples_of_a_convolution_are_images_at_positions_averaged_to_the_smaller_grid():
    x = images(40, (2, 4, 4))
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        teacher = nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3))
        student = nn.Sequential(nn.Conv2d(2, 5, 2, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(20, 3))
    (layer,) = layer_likeness(likened(teacher.eval(), student, x), "clean")
    t = nn.functional.avg_pool2d(teacher[:2](x), 2).detach().permute(0, 2, 3, 1).reshape(-1, 3).double().numpy()
    s = student[:2](x).detach().permute(0, 2, 3, 1).reshape(-1, 5).double().numpy()
    assert len(t) == 160
    live = t.std(axis=0) > 0
    rho = np.corrcoef(t.T[live], s.T[s.std(axis=0) > 0])[: live.sum(), live.sum() :]
    assert layer.best.numpy() == pytest.approx(rho.max(axis=1), abs=1e-5)


def test_blocks_do_not_matter(monkeypatch):
    of = likened(dense(TEACHER), dense(normal(9, 4, seed=1)))
    (whole,) = layer_likeness(of, "clean")
    monkeypatch.setattr(likeness, "HELD", 1)
    (in_pairs,) = layer_likeness(likened(dense(TEACHER), dense(normal(9, 4, seed=1))), "clean")
    assert torch.allclose(whole.best, in_pairs.best, atol=1e-5)
    assert whole.cka == pytest.approx(in_pairs.cka, abs=1e-5)


def test_the_second_of_the_two_that_ask_needs_no_pass(monkeypatch):
    of = likened(dense(TEACHER), dense(TEACHER))
    node_correlation(of)
    monkeypatch.setattr(likeness, "activations", None)
    assert linear_cka(of).values["mean, clean"] == pytest.approx(1)


def test_dead_nodes_are_left_out():
    dead = TEACHER.clone()
    dead[:2] = 0  # relu(0 x + 0)
    found = layer_likeness(likened(dense(dead), dense(TEACHER)), "clean")
    assert len(found[0].best) == HIDDEN - 2
    assert found[0].best.min() > 0.999
    with pytest.raises(NotApplicableError, match="no node"):
        node_correlation(likened(dense(0 * dead), dense(TEACHER)))


def test_a_student_that_has_only_the_strong_nodes():
    """Three of six teacher nodes; they have a fan-out of 10 where the others have 1."""
    student = dense(TEACHER[:2])
    head = torch.ones(3, HIDDEN)
    head[:, :2] = 100
    found = node_correlation(likened(dense(TEACHER, head), student)).values
    assert found["coverage of strong"] == 1
    assert found["coverage of weak"] < 1
    turned = node_correlation(likened(dense(TEACHER, head.flip(1)), dense(TEACHER[-2:]))).values
    assert turned["coverage of strong"] == 1


@pytest.mark.parametrize("scale", [1.0, 7.0])
def test_linear_cka_of_a_rotated_teacher_is_one(scale):
    """Nodes that never switch off are linear, and a rotation of them reads the same."""
    rotation = torch.linalg.qr(normal(HIDDEN, HIDDEN, seed=2)).Q
    teacher, student = dense(TEACHER), dense(scale * rotation @ TEACHER)
    for network in (teacher, student):
        nn.init.constant_(network[1].bias, 100.0)
    found = linear_cka(likened(teacher, student))
    assert found.values["mean, clean"] == pytest.approx(1, abs=1e-4)
    assert found.values["last layer, attacked"] == pytest.approx(1, abs=1e-4)
    assert found.values["mean, shuffled"] < 0.2
    assert set(found.layers["2 / 2"]) == {"clean", "attacked", "shuffled"}


def test_layers_are_paired_by_size_and_then_by_relative_depth():
    def layers(*sizes):
        return [ActivatedLayer(place, f"{place}", 1, (size, size), None) for place, size in enumerate(sizes)]

    pairs = paired(layers(8, 8, 4, 2), layers(8, 8, 8, 4, 4, 3))
    assert [(pair.teacher.place, pair.student.place, pair.size) for pair in pairs] == [
        (0, 0, (8, 8)),
        (1, 2, (8, 8)),
        (2, 3, (4, 4)),
        (3, 5, (2, 2)),
    ]
    pairs = paired(layers(8, 4, 4, 4, 4), layers(8, 8, 8, 8, 4))
    assert [pair.student.place for pair in pairs] == [0, 4, 4, 4, 4]


def test_an_ensemble_has_no_layers_of_its_own():
    one = dense(TEACHER, normal(3, HIDDEN))
    ensemble = Ensemble(members=[Frozen.of(one), Frozen.of(one)])
    of = likened(ensemble.load(num_classes=3, input_shape=(1, 2, 2)), one)
    for diagnostic in (node_correlation, linear_cka):
        with pytest.raises(NotApplicableError, match="one of the ensemble's members"):
            diagnostic(of)
    assert agreement(of).values["same answer, clean"] == 1


W = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]])


def test_agreement_and_kl_of_a_student_that_is_its_teacher_and_of_one_that_is_its_opposite():
    x, y = images(40), torch.zeros(40, dtype=torch.long)
    same = agreement(inspected(linear(W), x, y, teacher=linear(3 * W))).values
    assert same["same answer, clean"] == same["same answer, attacked"] == 1
    opposite = agreement(inspected(linear(W), x, y, teacher=linear(-W))).values
    assert opposite["same answer, clean"] == opposite["same answer, attacked"] == 0
    assert agreement(inspected(linear(W), x, y, teacher=linear(W))).values["KL, clean"] == pytest.approx(0, abs=1e-6)


def test_kl_is_from_the_teacher_on_clean_images_to_the_student_on_attacked_ones():
    x, y = images(40), torch.zeros(40, dtype=torch.long)
    found = agreement(inspected(linear(W), x, y, teacher=linear(3 * W))).values
    gap = (x.flatten(1) @ (W[0] - W[1])).double()
    p, q = torch.sigmoid(3 * gap), torch.sigmoid(gap - 0.2)  # the attack takes eps from one pixel and adds it to the other
    expected = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()
    assert found["KL, attacked"] == pytest.approx(float(expected), rel=1e-4)


def test_batchnorm_bias_counts_what_is_not_positive():
    norms = [nn.BatchNorm2d(4), nn.BatchNorm2d(2), nn.BatchNorm2d(3, affine=False)]
    with torch.no_grad():
        norms[0].bias.copy_(torch.tensor([-1.0, 0, 1, 2]))
        norms[1].bias.copy_(torch.tensor([1.0, 1]))
    found = batchnorm_bias(inspected(nn.Sequential(*norms), X, Y))
    assert found.layers == {"0": {"share <= 0": 0.5}, "1": {"share <= 0": 0.0}}
    assert (found.values["share <= 0"], found.n) == (pytest.approx(2 / 6), 0)
    with pytest.raises(NotApplicableError, match="no BatchNorm"):
        batchnorm_bias(inspected(linear(W), X, Y))
