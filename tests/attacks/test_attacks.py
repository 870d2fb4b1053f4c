"""Contracts over every attack and ball that ard.attacks holds, and the laws of ascent."""

import inspect

import pytest
import torch
from tiny import concrete, generator, images, labels, tiny_net, user_error
from torch import nn

import ard.attacks
from ard.attacks import FGSM, L2, NFGSM, PGD, Attack, Ball, Counted, Linf
from ard.losses import cross_entropy

RADII = {"Linf": 0.1, "L2": 0.5}
BALLS = concrete(ard.attacks, Ball)
ATTACKS = [(kind, {}) for kind in concrete(ard.attacks, Attack)]
ATTACKS += [(PGD, {"start": start, "keep_best": best}) for start in ("gaussian", "zero") for best in (False, True)]
NAMES = [" ".join([kind.__name__, *map(str, settings.values())]) for kind, settings in ATTACKS]

every_attack = pytest.mark.parametrize(("kind", "settings"), ATTACKS, ids=NAMES)
every_ball = pytest.mark.parametrize("ball", BALLS)


def ball_of(kind, scale=1.0):
    return kind(eps=scale * RADII.get(kind.__name__, 0.1))


def labels_loss(model, y):
    return lambda x: cross_entropy(model(x), y)


@pytest.fixture(scope="module")
def trained():
    """A network that has learned which of four noisy patterns it sees."""
    patterns = images(4, seed=7)
    x = (patterns.repeat(40, 1, 1, 1) + 0.2 * torch.randn(160, 1, 6, 6, generator=generator(8))).clamp(0, 1)
    y = labels(160)
    net = tiny_net(3)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    net.eval().requires_grad_(False)
    assert (net(x).argmax(1) == y).float().mean() > 0.95
    return net, x, y


def test_discovery_finds_what_is_exported():
    assert {FGSM, NFGSM, PGD} <= {kind for kind, _ in ATTACKS}
    assert {Linf, L2} <= set(BALLS)
    assert not any(inspect.isabstract(kind) for kind, _ in ATTACKS)


@every_ball
@every_attack
def test_result_is_within_reach_and_an_image(kind, settings, ball, trained):
    net, x, y = trained
    attack = kind(ball_of(ball), **settings)
    x_adv = attack(labels_loss(net, y), x, generator())
    assert x_adv.shape == x.shape
    assert x_adv.dtype == x.dtype
    assert not x_adv.requires_grad
    assert 0 <= x_adv.min() <= x_adv.max() <= 1
    travelled = attack.ball.distance(x_adv - x)
    assert travelled.max() <= attack.reach + 1e-6
    assert travelled.min() > 0.5 * attack.reach  # and the attack did move every image


@every_ball
@every_attack
def test_zero_radius_changes_nothing(kind, settings, ball):
    x = images()
    x_adv = kind(ball_of(ball, 0.0), **settings)(labels_loss(tiny_net().eval(), labels()), x, generator())
    assert torch.equal(x_adv, x)


@every_ball
@every_attack
def test_equal_generators_give_equal_images(kind, settings, ball):
    attack, loss, x = kind(ball_of(ball), **settings), labels_loss(tiny_net().eval(), labels()), images()
    torch.manual_seed(1)
    first = attack(loss, x, generator(5))
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert torch.equal(first, attack(loss, x, generator(5)))
    assert torch.equal(torch.get_rng_state(), state)


def test_another_generator_gives_another_start():
    loss, x = labels_loss(tiny_net().eval(), labels()), images()
    attack = PGD(Linf(eps=0.1), steps=1, relative_step=1.0)
    assert not torch.equal(attack(loss, x, generator(1)), attack(loss, x, generator(2)))


@every_ball
@every_attack
def test_parameters_and_image_keep_their_gradients(kind, settings, ball):
    net, x = tiny_net().eval(), images()
    first, *others = net.parameters()
    first.grad = torch.ones_like(first)
    kind(ball_of(ball), **settings)(labels_loss(net, labels()), x, generator())
    assert torch.equal(first.grad, torch.ones_like(first))
    assert all(parameter.grad is None for parameter in others)
    assert x.grad is None
    assert not x.requires_grad


@every_ball
@every_attack
@pytest.mark.parametrize("shape", ["linear", "logistic"])
def test_a_loss_without_hills_only_rises(kind, settings, ball, shape):
    weight, x = torch.randn(1, 1, 6, 6, generator=generator(9)), images(16)

    def loss(x_adv):
        score = (weight * x_adv).sum(dim=(1, 2, 3))
        return score if shape == "linear" else nn.functional.softplus(score)

    x_adv = kind(ball_of(ball), **settings)(loss, x, generator())
    assert (loss(x_adv) > loss(x)).all()


@every_ball
def test_nfgsm_is_noise_then_one_whole_step(ball):
    """On a linear loss everything is known: the sign (or direction) of the weights, from where the noise had led."""
    weight, x = torch.randn(1, 1, 6, 6, generator=generator(9)), torch.full((5, 1, 6, 6), 0.5)
    threat = ball_of(ball)
    noise = 2 * threat.uniform(x, generator(3))
    found = NFGSM(threat)(lambda x_adv: (weight * x_adv).sum(dim=(1, 2, 3)), x, generator(3))
    torch.testing.assert_close(found, (x + noise + threat.eps * threat.steepest(weight)).clamp(0, 1))
    assert NFGSM(threat).reach == pytest.approx(3 * threat.eps)


@every_ball
def test_nfgsm_without_noise_is_fgsm(ball, trained):
    net, x, y = trained
    loss = labels_loss(net, y)
    ours = NFGSM(ball_of(ball), noise=0.0)(loss, x, generator())
    torch.testing.assert_close(ours, FGSM(ball_of(ball))(loss, x, generator()))


def test_counted_sums_along_the_path_what_the_loss_tells(trained):
    net, x, y = trained
    seen = []

    def loss(x_adv):
        logits = net(x_adv)
        seen.append(logits.argmax(1) == y)
        return cross_entropy(logits, y), seen[-1]

    counted = Counted(loss)
    x_adv = PGD(Linf(eps=0.3), steps=4)(counted, x, generator())
    assert counted.count.tolist() == torch.stack(seen).sum(0).tolist()
    assert 0 < counted.count.float().mean() < 4
    plain = PGD(Linf(eps=0.3), steps=4)(labels_loss(net, y), x, generator())
    assert torch.equal(x_adv, plain)


@every_ball
def test_pgd_is_no_weaker_than_fgsm(ball, trained):
    net, x, y = trained
    loss = labels_loss(net, y)
    fgsm, pgd = FGSM(ball_of(ball)), PGD(ball_of(ball), start="zero")
    assert loss(x).mean() < loss(fgsm(loss, x, generator())).mean() <= loss(pgd(loss, x, generator())).mean()


@pytest.mark.filterwarnings("ignore:PGD with relative_step = 3, longer than the ball is wide")  # on purpose
@every_ball
@pytest.mark.parametrize("step", [0.25, 3.0])  # steps far too long overshoot: there the last point is not the best
def test_keep_best_is_never_lower_than_the_last_point(ball, step):
    net, x, y = tiny_net(activation=nn.Tanh).eval(), images(64), labels(64)

    def loss(x_adv):
        return torch.sin(20 * cross_entropy(net(x_adv), y))

    last, best = (PGD(ball_of(ball), relative_step=step, keep_best=keep)(loss, x, generator()) for keep in (False, True))
    assert (loss(best) >= loss(last)).all()
    assert (loss(best) > loss(last)).any()


def test_attacks_work_without_grad_mode_and_refuse_inference_mode():
    loss, x = labels_loss(tiny_net().eval(), labels()), images()
    expected = PGD(Linf(eps=0.1))(loss, x, generator())
    with torch.no_grad():
        assert torch.equal(PGD(Linf(eps=0.1))(loss, x, generator()), expected)
    with torch.inference_mode(), user_error("inference_mode=False"):
        PGD(Linf(eps=0.1))(loss, x, generator())


def test_pgd_wants_a_step():
    with user_error("steps = 0: expected at least 1"):
        PGD(Linf(eps=0.1), steps=0)
