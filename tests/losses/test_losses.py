"""Losses against sums written out by hand in float64, and the laws of a divergence."""

import math

import numpy as np
import pytest
import torch
from graph_double import nobody_waits
from tiny import generator, labels

from ard.losses import cross_entropy, dlr, kl, margin

LOGITS = 3 * torch.randn(4, 5, generator=generator(1), dtype=torch.float64)
TARGET = 3 * torch.randn(4, 5, generator=generator(2), dtype=torch.float64)
LABELS = labels(4, 5)


def probabilities(logits, temperature=1.0):
    powers = [math.exp(float(z) / temperature) for z in logits]
    return [power / sum(powers) for power in powers]


def kl_by_hand(target, logits, temperature=1.0):
    rows = []
    for target_row, row in zip(target, logits, strict=True):
        p, q = probabilities(target_row, temperature), probabilities(row, temperature)
        rows.append(sum(p[c] * (math.log(p[c]) - math.log(q[c])) for c in range(len(p))))
    return np.array(rows)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 30.0])
def test_kl_is_the_sum_over_classes_at_a_temperature(temperature):
    np.testing.assert_allclose(kl(TARGET, LOGITS, temperature), kl_by_hand(TARGET, LOGITS, temperature), rtol=1e-10)


@pytest.mark.parametrize("argument", [0, 1])
def test_the_gradient_of_kl_flows_into_both_arguments_and_is_right(argument):
    pair = [TARGET.clone(), LOGITS.clone()]
    pair[argument].requires_grad_()
    (gradient,) = torch.autograd.grad(kl(*pair, 2.0).sum(), pair[argument])
    expected = np.zeros((4, 5))
    for index in np.ndindex(4, 5):
        ends = []
        for step in (1e-5, -1e-5):
            moved = [TARGET.numpy().copy(), LOGITS.numpy().copy()]
            moved[argument][index] += step
            ends.append(kl_by_hand(*moved, 2.0).sum())
        expected[index] = (ends[0] - ends[1]) / 2e-5
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-9)


def test_kl_of_equal_logits_is_zero_and_of_unequal_ones_positive():
    assert (kl(LOGITS, LOGITS).abs() < 1e-15).all()
    assert (kl(LOGITS, LOGITS + 7.0).abs() < 1e-12).all()  # logits mean the same after a shift
    assert (kl(TARGET, LOGITS) > 0.01).all()


def test_kl_stays_finite_for_certain_networks():
    certain = torch.tensor([[200.0, -200.0, 0.0]])
    torch.testing.assert_close(kl(certain, certain.flip(1)), torch.tensor([200.0]))


@pytest.mark.parametrize("shape", [(1, 5), (4, 1), (4, 6), (5,)])
def test_kl_refuses_the_shapes_that_broadcasting_would_hide(shape):
    with pytest.raises(ValueError, match="expected equal"):
        kl(torch.zeros(shape), torch.zeros(4, 5))


def test_hot_kl_with_its_factor_is_half_the_mean_squared_difference_of_centred_logits():
    """Hinton's limit: t² KL -> ‖Δz‖²/(2C); the error falls like 1/t."""
    centred = [z - z.mean(dim=1, keepdim=True) for z in (TARGET, LOGITS)]
    limit = (centred[0] - centred[1]).square().sum(dim=1) / (2 * 5)
    errors = [((t**2 * kl(TARGET, LOGITS, t) - limit) / limit).abs().max().item() for t in (100.0, 1000.0)]
    assert errors[1] < 1e-2
    assert errors[1] < 0.2 * errors[0]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_cross_entropy_with_smoothing(smoothing):
    expected = []
    for row, y in zip(LOGITS, LABELS.tolist(), strict=True):
        p = probabilities(row)
        q = [(1 - smoothing) * (c == y) + smoothing / 5 for c in range(5)]
        expected.append(-sum(q[c] * math.log(p[c]) for c in range(5)))
    np.testing.assert_allclose(cross_entropy(LOGITS, LABELS, smoothing), expected, rtol=1e-10)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_with_shares_of_classes(smoothing):
    """A mixed image has several classes; an image without a label adds nothing, smoothed or not."""
    shares = torch.tensor([[0.3, 0.7, 0, 0, 0], [0, 0, 0, 0, 1], [0.2] * 5, [0] * 5], dtype=torch.float64)
    expected = []
    for row, q in zip(LOGITS, shares.tolist(), strict=True):
        p = probabilities(row)
        expected.append(-sum(((1 - smoothing) * q[c] + smoothing / 5 * sum(q)) * math.log(p[c]) for c in range(5)))
    np.testing.assert_allclose(cross_entropy(LOGITS, shares, smoothing), expected, rtol=1e-10)
    one_hot = torch.eye(5, dtype=torch.float64)[LABELS]
    torch.testing.assert_close(cross_entropy(LOGITS, one_hot, smoothing), cross_entropy(LOGITS, LABELS, smoothing))


def test_margin_against_a_loop():
    expected = []
    for row, y in zip(LOGITS.tolist(), LABELS.tolist(), strict=True):
        expected.append(max(z for k, z in enumerate(row) if k != y) - row[y])
    np.testing.assert_allclose(margin(LOGITS, LABELS), expected, rtol=1e-12)
    assert torch.equal(margin(LOGITS, LABELS) > 0, LOGITS.argmax(dim=1) != LABELS)


def test_dlr_against_sorted_lists():
    expected = []
    for row, y in zip(LOGITS.tolist(), LABELS.tolist(), strict=True):
        first, second, third = sorted(row, reverse=True)[:3]
        expected.append(-(row[y] - (second if row[y] == first else first)) / (first - third))
    np.testing.assert_allclose(dlr(LOGITS, LABELS), expected, rtol=1e-10)


@pytest.mark.parametrize(("scale", "shift"), [(1e3, 0.0), (1e-3, 0.0), (1.0, 50.0)])
def test_dlr_minds_neither_scale_nor_shift(scale, shift):
    """So that no temperature inside a network can flatten what the attack climbs."""
    torch.testing.assert_close(dlr(scale * LOGITS + shift, LABELS), dlr(LOGITS, LABELS), rtol=1e-8, atol=0)


def test_dlr_of_equal_logits_is_finite_and_of_two_classes_refused():
    assert dlr(torch.zeros(4, 5), LABELS).tolist() == [0.0] * 4
    with pytest.raises(ValueError, match="expected at least 3"):
        dlr(torch.zeros(4, 2), labels(4, 2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_promoted_and_double_ones_are_kept(dtype):
    half, target = LOGITS.to(dtype), TARGET.to(dtype)
    calls = [lambda z, t: kl(t, z, 4.0), *(lambda z, _, loss=loss: loss(z, LABELS) for loss in (cross_entropy, margin, dlr))]
    for call in calls:
        assert call(half, target).dtype == torch.float32
        assert torch.equal(call(half, target), call(half.float(), target.float()))
        assert call(LOGITS, TARGET).dtype == torch.float64


@pytest.mark.parametrize("loss", [cross_entropy, margin, dlr])
def test_no_loss_makes_the_host_wait(loss):
    with nobody_waits():
        (slope,) = torch.autograd.grad(loss(logits := LOGITS.clone().requires_grad_(), LABELS).sum(), logits)
    assert slope.abs().max() > 0
