"""Balls and attacks against closed forms, against torchattacks, and in half precision against float32."""

import copy
import pickle

import numpy as np
import pytest
import torch
from tiny import generator, images, labels, tiny_net, user_error
from torch import nn

from ard.attacks import FGSM, L2, PGD, Linf, ascent
from ard.core.radius import Radius
from ard.losses import cross_entropy


def linear_model():
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 2)).double()
    with torch.no_grad():
        model[1].weight.copy_(torch.randn(2, 36, generator=generator(4), dtype=torch.float64))
    return model


@pytest.mark.parametrize("ball", [Linf(eps=0.1), L2(eps=0.5)])
def test_fgsm_on_a_linear_model(ball):
    """With two classes the gradient of every example points along w_other − w_y, so x' is known in closed form."""
    model, x, y = linear_model(), images(8).double(), labels(8, 2)
    found = FGSM(ball)(lambda x_adv: cross_entropy(model(x_adv), y), x, generator())
    weight = model[1].weight.detach().numpy()
    uphill = np.stack([weight[1 - c] - weight[c] for c in y.tolist()])
    uphill = np.sign(uphill) if isinstance(ball, Linf) else uphill / np.sqrt((uphill**2).sum(axis=1, keepdims=True))
    expected = np.clip(x.numpy() + ball.eps * uphill.reshape(8, 1, 6, 6), 0, 1)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("eps", [0.0, 16 / 256, 0.5])
def test_linf_projection_is_two_clips(eps):
    """Pixels and radius are multiples of 1/256, so that float32 makes no rounding errors and equality may be exact."""
    x = (images(8) * 256).round() / 256
    outside = (3 * 256 * (images(8, seed=1) - 0.3)).round() / 256
    expected = np.clip(np.clip(outside.numpy(), x.numpy() - eps, x.numpy() + eps), 0, 1)
    np.testing.assert_array_equal(Linf(eps=eps).project(outside, x), expected)


def test_l2_projection_scales_what_is_outside_and_keeps_what_is_inside():
    x = torch.full((2, 1, 6, 6), 0.5, dtype=torch.float64)
    delta = torch.randn(2, 1, 6, 6, generator=generator(), dtype=torch.float64)
    delta *= (torch.tensor([0.2, 2.0]) / delta.flatten(1).norm(dim=1)).view(2, 1, 1, 1)
    found = L2(eps=0.5).project(x + delta, x) - x
    np.testing.assert_allclose(found[0], delta[0], atol=1e-15)
    np.testing.assert_allclose(found[1], delta[1] / 4, atol=1e-15)


def test_l2_start_is_uniform_in_the_ball():
    """(‖δ‖/eps)^d is then uniform on [0, 1]: Kolmogorov's distance stays below its 1 % bound; no side is preferred."""
    count, eps = 4000, 0.7
    delta = L2(eps=eps).uniform(torch.zeros(count, 1, 2, 2), generator())
    share = (delta.flatten(1).norm(dim=1) / eps).double().numpy()
    assert share.max() <= 1 + 1e-6
    grid = np.arange(1, count + 1) / count
    assert np.abs(np.sort(share**4) - grid).max() < 1.63 / np.sqrt(count)
    assert delta.mean(dim=0).abs().max() < 4 * eps / np.sqrt(6 * count)  # each coordinate has variance eps²/(d + 2)


def test_linf_start_is_uniform_in_the_ball():
    share = Linf(eps=0.1).uniform(torch.zeros(100, 1, 6, 6), generator()).flatten().double().numpy() / 0.2 + 0.5
    grid = np.arange(1, 3601) / 3600
    assert 0 <= share.min() <= share.max() <= 1
    assert np.abs(np.sort(share) - grid).max() < 1.63 / np.sqrt(3600)


def test_ascent_gives_each_example_its_own_value_and_gradient_whatever_the_batch():
    weight, x = torch.randn(1, 1, 6, 6, generator=generator()), images(8)
    value, gradient = ascent(lambda x_adv: (weight * x_adv).sum(dim=(1, 2, 3)), x)
    np.testing.assert_allclose(value, (weight * x).numpy().sum(axis=(1, 2, 3)), rtol=1e-4)
    assert torch.equal(gradient, weight.expand(8, 1, 6, 6))


@pytest.mark.parametrize(("settings", "expected"), [({}, 0.25), ({"steps": 5}, 0.5), ({"relative_step": 0.1}, 0.1)])
def test_the_step_is_relative_to_the_radius(settings, expected):
    """On a slope nothing but the step size and the ball decide where two steps end."""
    x = torch.full((1, 1, 6, 6), 0.5, dtype=torch.float64)
    path = []

    def slope(x_adv):
        path.append((x_adv.detach() - x).max().item() / 0.2)
        return x_adv.sum(dim=(1, 2, 3))

    PGD(Linf(eps=0.2), start="zero", **settings)(slope, x, generator())
    assert path[:3] == pytest.approx([0, expected, 2 * expected])
    assert len(path) == settings.get("steps", 10)


@pytest.mark.parametrize("start", ["uniform", "gaussian", "zero"])
def test_starts(start):
    """A flat loss moves nothing, so that PGD returns its start."""
    x = torch.full((50, 1, 6, 6), 0.5)
    moved = PGD(Linf(eps=0.1), start=start)(lambda x_adv: 0 * x_adv.sum(dim=(1, 2, 3)), x, generator()) - x
    expected = {"uniform": 0.1 / 3**0.5, "gaussian": 1e-3, "zero": 0.0}[start]
    assert moved.std().item() == pytest.approx(expected, rel=0.05)


def test_a_radius_is_written_back_as_it_was_read():
    radius = Radius("8/255")
    assert radius == 8 / 255
    assert [str(radius), f"{radius}", str(Radius(str(radius)))] == ["8/255"] * 3
    assert str(copy.deepcopy(radius)) == str(pickle.loads(pickle.dumps(radius))) == "8/255"
    assert Radius("0.5") == Radius(0.5) == 0.5


@pytest.mark.parametrize("text", ["8/0", "abc", "", "8/255/2", "nan", "1e999"])
def test_what_is_no_radius_is_refused(text):
    with user_error("expected a number or a fraction such as 8/255"):
        Radius(text)


@pytest.mark.parametrize("eps", [8, 8.0])
def test_the_radius_suggested_for_pixels_up_to_255_can_be_read(eps):
    with pytest.raises(ValueError, match="did you mean") as caught:
        Linf(eps=Radius(eps))
    assert Radius(str(caught.value).split("did you mean ")[1].rstrip("?")) == 8 / 255


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_pgd_agrees_with_torchattacks(norm):
    torchattacks = pytest.importorskip("torchattacks")
    net, x, y = tiny_net().eval(), images(32), labels(32)
    eps, steps, relative_step = {"Linf": 0.1, "L2": 0.5}[norm], 10, 0.25
    theirs = {"Linf": torchattacks.PGD, "L2": torchattacks.PGDL2}[norm]
    reference = theirs(net, eps=eps, alpha=eps * relative_step, steps=steps, random_start=False)(x, y)
    pgd = PGD({"Linf": Linf, "L2": L2}[norm](eps=eps), steps=steps, relative_step=relative_step, start="zero")
    found = pgd(lambda x_adv: cross_entropy(net(x_adv), y), x, generator())
    assert (reference - x).abs().mean() > 0.01
    assert ((found - reference).abs() < 1e-3).float().mean() >= 0.99


@pytest.fixture
def confident():
    """A network so sure of its answers that a mean over the batch in float16 rounds their gradients to zero."""
    net, x = tiny_net(activation=nn.Tanh).eval(), images(32)
    with torch.no_grad():
        net[4].weight.mul_(40)
    y = net(x).argmax(dim=1)
    return net, x, y


def plain_gradient(net, x, y):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(nn.functional.cross_entropy(net(x), y), x)[0]


@pytest.mark.fault(35)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_loses_no_gradient(confident, dtype, observed):
    net, x, y = confident
    value, gradient = ascent(lambda x_adv: cross_entropy(net(x_adv), y), x)
    with torch.autocast("cpu", dtype=dtype):
        value_half, gradient_half = ascent(lambda x_adv: cross_entropy(net(x_adv), y), x)
    alive = gradient.flatten(1).abs().amax(dim=1) > 0
    assert alive.sum() > 16
    assert (gradient_half.flatten(1).abs().amax(dim=1) > 0)[alive].all()
    if dtype == torch.float16:
        assert torch.equal(gradient, gradient_half)
        assert torch.equal(value, value_half)
    observed(f"an attack under autocast to {dtype}: no gradient is lost")


def test_plain_float16_would_lose_gradients(confident):
    """What the test above guards against does happen."""
    net, x, y = confident
    with torch.autocast("cpu", dtype=torch.float16):
        lost = plain_gradient(net, x, y).flatten(1).abs().amax(dim=1) == 0
    assert (lost & (plain_gradient(net, x, y).flatten(1).abs().amax(dim=1) > 0)).any()


def saturated(count):
    """Images of which some pixels are exactly 0 and some exactly 1."""
    return (1.6 * images(count).double() - 0.3).clamp(0, 1)


@pytest.mark.parametrize("clamp_start", [True, False])
@pytest.mark.parametrize("start", ["uniform", "gaussian"])
def test_pgd_as_released_steps_from_outside_the_range(start, clamp_start):
    """The released loop in NumPy, on a loss whose gradient changes its sign where pixels leave [0, 1]."""
    x, eps, size = saturated(8), 0.1, 0.03
    attack = PGD(Linf(eps=eps), steps=4, relative_step=size / eps, start=start, clamp_start=clamp_start)
    found = attack(lambda x_adv: (20 * x_adv).sin().flatten(1).sum(dim=1), x, generator(3))
    draw = torch.randn if start == "gaussian" else torch.rand
    noise = draw(x.shape, generator=generator(3), dtype=x.dtype).numpy()
    clean = x.numpy()
    path = clean + (1e-3 * noise if start == "gaussian" else eps * (2 * noise - 1))
    path = np.clip(path, 0, 1) if clamp_start else path
    for _ in range(4):
        path = path + size * np.sign(20 * np.cos(20 * path))
        path = np.clip(np.minimum(np.maximum(path, clean - eps), clean + eps), 0, 1)
    np.testing.assert_allclose(found, path, rtol=0, atol=1e-12)
    assert np.abs(found.numpy() - clean).max() <= eps + 1e-12
    assert 0 <= found.min() <= found.max() <= 1


def test_a_start_that_is_not_cut_back_leads_elsewhere_at_saturated_pixels_alone():
    x = saturated(64).float()
    cut, free = (
        PGD(Linf(eps=0.1), steps=1, relative_step=1.0, clamp_start=clamp)(lambda z: z.flatten(1).sum(dim=1), x, generator())
        for clamp in (True, False)
    )
    at_the_edge = (x < 0.1) | (x > 0.9)
    assert torch.allclose(cut[~at_the_edge], free[~at_the_edge])
    assert not torch.allclose(cut[at_the_edge], free[at_the_edge])


def test_how_the_start_is_cut_is_recorded_where_it_is_unusual():
    assert "clamp_start" not in PGD(Linf(eps=0.1)).settings
    assert PGD(Linf(eps=0.1), clamp_start=False).settings["clamp_start"] is False
    with user_error("keep_best and clamp_start = false"):
        PGD(Linf(eps=0.1), clamp_start=False, keep_best=True)
