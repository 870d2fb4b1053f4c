"""Contracts over every attack and ball that ard.attacks holds, and those of this file; and the laws of ascent."""

import inspect

import pytest
import torch
from tiny import concrete, generator, images, labels, tiny_net, user_error
from torch import nn

import ard.attacks
from ard.attacks import FGSM, L2, NFGSM, PGD, Attack, Ball, Linf, UnstuckPGD
from ard.losses import AttackLoss, cross_entropy


class Momentum(Attack):
    """A newcomer's attack: steps along the sum of the gradients so far, each scaled to its mean size."""

    def __init__(self, ball, *, decay=0.9):
        super().__init__(ball, steps=3, step_size=ball.eps / 2)
        self.decay = decay

    def begin(self, x, generator):
        return self.bound(x + self.ball.uniform(x, generator), x)

    def direction(self, gradient, memory):
        scaled = gradient / gradient.abs().mean(dim=(1, 2, 3), keepdim=True).clamp_min(1e-12)
        total = scaled if memory is None else self.decay * memory + scaled
        return self.ball.steepest(total), total

    @property
    def settings(self):
        return {"decay": self.decay}


RADII = {"Linf": 0.1, "L2": 0.5}
BALLS = concrete(ard.attacks, Ball)
KINDS = [*concrete(ard.attacks, Attack), Momentum]
ATTACKS = [(kind, {}) for kind in KINDS]
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
    assert {FGSM, NFGSM, PGD, Momentum} <= {kind for kind, _ in ATTACKS}
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


@every_ball
@every_attack
def test_nothing_moves_where_nothing_is_allowed(kind, settings, ball, trained):
    net, x, y = trained
    attack = kind(ball_of(ball), **settings)
    nowhere = AttackLoss(labels_loss(net, y), allowed=lambda points: torch.zeros(len(points), dtype=torch.bool))
    assert (attack(nowhere, x, generator()) - x).abs().max() == 0.0


@every_ball
@every_attack
def test_what_is_not_allowed_ends_at_the_image_and_all_else_is_as_without_the_rule(kind, settings, ball, trained):
    net, x, y = trained
    attack, odd = kind(ball_of(ball), **settings), torch.arange(len(x)) % 2 == 1
    free = attack(labels_loss(net, y), x, generator())
    bound = attack(AttackLoss(labels_loss(net, y), allowed=lambda _: odd), x, generator())
    assert torch.equal(bound, torch.where(odd.view(-1, 1, 1, 1), free, x))


@every_ball
@every_attack
def test_each_point_is_searched_around_its_own_centre(kind, settings, ball, trained):
    """As if the points were images of their own, and the objective may search more of them than it has images."""
    net, x, y = trained
    attack, centre = kind(ball_of(ball), **settings), torch.cat([x, 1 - x])
    found = attack(AttackLoss(labels_loss(net, y.repeat(2)), centre=centre), x, generator())
    assert torch.equal(found, attack(labels_loss(net, y.repeat(2)), centre, generator()))
    assert attack.ball.distance(found - centre).max() <= attack.reach + 1e-6


@every_ball
@every_attack
def test_it_begins_where_the_loss_says_and_draws_nothing(kind, settings, ball, trained):
    net, x, y = trained
    attack, random = kind(ball_of(ball), **settings), generator()
    start, asked = attack.ball.project(x + 0.5 * attack.ball.uniform(x, generator(3)), x), []

    def loss(x_adv):
        asked.append(x_adv.detach())
        return cross_entropy(net(x_adv), y)

    found = attack(AttackLoss(loss, start=start), x, random)
    assert torch.equal(asked[0], start)
    assert attack.ball.distance(found - x).max() <= attack.reach + 1e-6
    assert torch.equal(random.get_state(), generator().get_state())


@every_ball
@every_attack
def test_what_the_loss_observes_is_summed_along_the_path(kind, settings, ball, trained):
    net, x, y = trained
    attack, seen, path = kind(ball_of(ball), **settings), [], []

    def loss(x_adv):
        logits = net(x_adv)
        seen.append(logits.argmax(1) == y)
        path.append(x_adv.detach().clone())
        return cross_entropy(logits, y), seen[-1]

    observed = AttackLoss(loss)
    x_adv = attack(observed, x, generator())
    assert observed.seen.dtype == torch.float32
    assert observed.seen.tolist() == torch.stack(seen).sum(0).tolist()
    assert torch.equal(x_adv, attack(labels_loss(net, y), x, generator()))
    last = path[attack.steps - 1].requires_grad_()
    (gradient,) = torch.autograd.grad(cross_entropy(net(last), y).sum(), last)
    torch.testing.assert_close(observed.gradient, gradient)


def test_a_loss_is_made_an_attack_loss_once():
    plain = labels_loss(tiny_net(), labels())
    made = AttackLoss.of(plain)
    assert (made.start, made.centre, made.allowed, made.seen, made.gradient) == (None,) * 5
    assert AttackLoss.of(made, start=(start := images())) is made
    assert AttackLoss.of(made).start is start
    assert AttackLoss.centre_of(made, start) is AttackLoss.centre_of(None, start) is AttackLoss.centre_of(plain, start)


def test_an_attack_that_would_leave_the_rules_out_is_refused_when_it_is_defined():
    with pytest.raises(TypeError, match=r"Own defines __call__.* override begin, direction or bound"):

        class Own(PGD):
            def __call__(self, loss, x, generator):  # noqa: ARG002
                return x


@pytest.mark.parametrize("kind", KINDS)
def test_the_options_of_an_attack_are_among_its_settings(kind):
    """A record must say how the attack was set: the step in pixels in place of relative_step, and all else by its name."""
    options = set(inspect.signature(kind).parameters) - {"ball", "relative_step", "clamp_start"}  # said where it is false
    assert options <= set(kind(Linf(eps=0.1)).settings)


def test_what_records_say_of_an_attack():
    """These stand in stored records, in this order: an attribute more in an attack must not add to them."""
    told = [list(kind(Linf(eps=0.1)).settings.items()) for kind in (FGSM, NFGSM, PGD)]
    pgd = [("steps", 10), ("start", "uniform"), ("keep_best", False), ("step_size", pytest.approx(0.025))]
    assert told == [[], [("noise", 2.0), ("step_size", 0.1)], pgd]


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


@every_ball
def test_images_without_a_gradient_stay_in_pgd_and_move_on_from_their_start_where_asked(ball):
    threat, x = ball_of(ball), images(4).clamp(0.3, 0.7)
    slopes = torch.tensor([0.0, 1.0, 0.0, -1.0]).view(-1, 1, 1, 1) * torch.ones_like(x)

    def found(kind, start):
        return kind(threat, steps=4, start=start)(lambda x_adv: (slopes * x_adv).sum(dim=(1, 2, 3)), x, generator(3))

    stuck, moved = found(PGD, "gaussian"), found(UnstuckPGD, "gaussian")
    assert torch.equal(stuck[1::2], moved[1::2])
    assert (threat.distance(stuck[::2] - x[::2]) < threat.eps / 2).all()
    assert torch.allclose(threat.distance(moved[::2] - x[::2]), torch.full((2,), threat.eps))
    assert torch.equal(threat.steepest(moved[::2] - x[::2]).sign(), threat.steepest(stuck[::2] - x[::2]).sign())
    assert torch.equal(found(UnstuckPGD, "zero")[::2], x[::2])
