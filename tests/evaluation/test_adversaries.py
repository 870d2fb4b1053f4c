"""Contract over every adversary of the full suite, and oracles for what each of them climbs."""

import json

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax
from tiny import few_queries, few_steps, generator, images, labels, tiny_net
from torch import nn

import ard.attacks
import ard.losses
from ard.attacks import L2, Linf
from ard.evaluation import suites
from ard.evaluation.adversaries import GradientAdversary, Noise, away_from, first_success, targeted, through
from ard.evaluation.cascade import evaluation_mode
from ard.evaluation.request import SUITE_NAMES
from ard.evaluation.suites import Given, full

MODEL = tiny_net(1).eval()
TEACHER, SIBLING, UNDEFENDED = NETS = [tiny_net(seed).eval() for seed in (2, 3, 4)]
GIVEN = Given(transfer={"sibling": SIBLING}, teacher=TEACHER, temperature=4.0, undefended=UNDEFENDED)
SUITES = {ball: full(ball, 4, GIVEN, 36) for ball in (Linf(eps=0.03), L2(eps=0.1))}
EVERY = [pytest.param(a, id=f"{ball.norm} {a.name}") for ball, suite in SUITES.items() for a in suite]
RERUN = [
    p
    for p in EVERY
    if isinstance(a := p.values[0], GradientAdversary) and len(a.goals) == 1 and a.name != "Transfer sibling"
]
RERUN = [p for p in RERUN if hasattr(ard.losses, p.values[0].loss)]

every_adversary = pytest.mark.parametrize("adversary", EVERY)


def task():
    """Images whose labels the model gets right, but for the last."""
    x = images(6)
    y = MODEL(x).argmax(dim=1)
    y[-1] = (y[-1] + 1) % 4
    return x, y


def norms(delta, norm):
    flat = delta.double().flatten(1).numpy()
    return np.abs(flat).max(axis=1) if norm == "Linf" else np.sqrt((flat**2).sum(axis=1))


@every_adversary
def test_what_every_adversary_promises(adversary, monkeypatch):
    if adversary.group == "AutoAttack":
        few_queries(monkeypatch)
        few_steps(monkeypatch)
    x, y = task()
    x_before, y_before = x.clone(), y.clone()
    nets = [MODEL, *NETS]
    weights = [value.tolist() for net in nets for value in net.state_dict().values()]
    for net in nets:
        net[4].bias.grad = torch.ones(4)
    with evaluation_mode(*nets):
        x_adv = adversary(MODEL, x, y, generator(3))
        torch.rand(7)
        again = adversary(MODEL, x, y, generator(3))
    assert x_adv.shape == x.shape
    assert x_adv.dtype == x.dtype
    assert 0 <= x_adv.min() <= x_adv.max() <= 1
    if adversary.ball is not None:
        assert norms(x_adv - x, adversary.ball.norm).max() <= adversary.ball.eps * (1 + 1e-5) + 1e-6
    assert torch.equal(x_adv, again)
    assert torch.equal(x, x_before)
    assert torch.equal(y, y_before)
    assert [value.tolist() for net in nets for value in net.state_dict().values()] == weights
    for net in nets:
        assert torch.equal(net[4].bias.grad, torch.ones(4))
        assert [p for p in net.parameters() if p.grad is not None] == [net[4].bias]
    assert adversary.passes > 0
    assert json.loads(json.dumps(adversary.settings, allow_nan=False)) == adversary.settings
    assert {"attack", "corruption"} & set(adversary.settings)


@pytest.mark.parametrize("adversary", RERUN)
def test_the_settings_are_enough_to_run_the_attack_again(adversary):
    told, (x, y) = dict(adversary.settings), task()
    kind, loss = getattr(ard.attacks, told.pop("attack")), getattr(ard.losses, told.pop("loss"))
    assert told.pop("runs") == 1
    if "step_size" in told:
        told["relative_step"] = told.pop("step_size") / adversary.ball.eps
    x_adv = kind(adversary.ball, **told)(lambda x_adv: loss(MODEL(x_adv), y), x, generator(3))
    torch.testing.assert_close(adversary(MODEL, x, y, generator(3)), x_adv, rtol=0, atol=1e-6)


def test_names_are_unique_and_only_probes_leave_the_ball():
    for ball, suite in SUITES.items():
        assert len({adversary.name for adversary in suite}) == len(suite)
        assert {(a.ball.norm, a.ball.eps) for a in suite if not a.probe} == {(ball.norm, ball.eps)}


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_targeted_climbs_towards_the_class_of_its_rank_on_the_clean_image(rank):
    x, y = images(32), labels(32)
    x_adv = (x + 0.2 * torch.randn(x.shape, generator=generator(5))).clamp(0, 1)
    clean, moved = MODEL(x).detach().numpy(), MODEL(x_adv).detach().numpy()
    expected = []
    for i, label in enumerate(y.tolist()):
        target = sorted((k for k in range(4) if k != label), key=lambda k, i=i: -clean[i, k])[rank - 1]
        expected.append(moved[i, target] - moved[i, label])
    np.testing.assert_allclose(targeted(rank)(MODEL, x, y)(x_adv).detach(), expected, atol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_away_from_is_the_divergence_from_the_teachers_answer_to_the_clean_image(temperature):
    x, x_adv = images(8), images(8, seed=1)
    p, q = (softmax(z.detach().double().numpy() / temperature, axis=1) for z in (TEACHER(x), MODEL(x_adv)))
    found = away_from(TEACHER, temperature)(MODEL, x, labels(8))(x_adv)
    np.testing.assert_allclose(found.detach(), rel_entr(p, q).sum(axis=1), rtol=1e-4, atol=1e-6)


def test_through_climbs_the_source_and_never_calls_the_model():
    def model(_):
        raise AssertionError("the model was called")

    x_adv, y = images(8), labels(8)
    expected = []
    for row, label in zip(SIBLING(x_adv).tolist(), y.tolist(), strict=True):
        expected.append(max(z for k, z in enumerate(row) if k != label) - row[label])
    np.testing.assert_allclose(through(SIBLING)(model, images(8), y)(x_adv).detach(), expected, atol=1e-5)


class Bright(nn.Module):
    """Class 1 for images above medium grey, else 0; keeps what it was shown."""

    def __init__(self):
        super().__init__()
        self.shown = []

    def forward(self, x):
        self.shown.append(x.detach().clone())
        height = x.mean(dim=(1, 2, 3)) - 0.5
        return torch.stack([-height, height], dim=1)


def test_first_success_keeps_it_and_shows_a_fallen_image_to_nobody_again():
    """Six dark images, each recognised by its grey; attempt k turns those of plan[k] into its own bright grey.

    Of an image that never falls the last attempt is kept.
    """
    x, y = (torch.arange(6) / 100).view(6, 1, 1, 1).expand(6, 1, 2, 2).clone(), torch.zeros(6, dtype=torch.long)
    plan, shown = [{1, 4}, {0, 1, 4}, set(), {0, 2, 3, 4}, {5}, {5}], []

    def attempt(k, x, _):
        who = [round(100 * value) for value in x[:, 0, 0, 0].tolist()]
        shown.append(who)
        grey = [0.6 + k / 100 if i in plan[k] else 0.2 + k / 100 for i in who]
        return torch.tensor(grey).view(-1, 1, 1, 1).expand_as(x)

    found = first_success(Bright(), x, y, [lambda x, y, k=k: attempt(k, x, y) for k in range(len(plan))])
    assert shown == [[0, 1, 2, 3, 4, 5], [0, 2, 3, 5], [2, 3, 5], [2, 3, 5], [5]]  # and the sixth attempt is not made
    np.testing.assert_allclose(found[:, 0, 0, 0], [0.61, 0.60, 0.63, 0.63, 0.60, 0.64], atol=1e-6)
    last = first_success(Bright(), x, y, [lambda x, y, k=k: attempt(k, x, y) for k in (0, 2)])
    # a failure stays an attempt
    np.testing.assert_allclose(last[:, 0, 0, 0], [0.22, 0.60, 0.22, 0.22, 0.60, 0.22], atol=1e-6)


def test_restarts_start_elsewhere():
    model, x = Bright(), torch.full((3, 1, 6, 6), 0.2)
    restarts = next(a for a in full(Linf(eps=0.1), 2, Given(), 36) if a.name == "PGD-100 × 5")
    restarts.attack.steps = 1
    restarts(model, x, torch.zeros(3, dtype=torch.long), generator())
    starts = model.shown[::3]  # of each run: the start, the end, the verdict
    assert len(starts) == 5
    assert all((a - b).abs().amax(dim=(1, 2, 3)).min() > 0.05 for i, a in enumerate(starts) for b in starts[:i])


@pytest.mark.parametrize("ball", [Linf(eps=0.1), L2(eps=0.5)], ids=lambda ball: ball.norm)
def test_noise_goes_all_the_way_each_time_elsewhere(ball):
    model, x = Bright(), torch.full((4, 1, 6, 6), 0.3)
    Noise(name="Noise", ball=ball, draws=7)(model, x, torch.zeros(4, dtype=torch.long), generator())
    assert len(model.shown) == 7
    for drawn in model.shown:
        travelled = (drawn - x).abs() if ball.norm == "Linf" else torch.tensor(norms(drawn - x, "L2"))
        torch.testing.assert_close(travelled, torch.full_like(travelled, ball.eps), rtol=1e-5, atol=1e-6)
    assert all((a - b).abs().max() > 0.05 for i, a in enumerate(model.shown) for b in model.shown[:i])


def test_a_request_knows_the_suites():
    assert tuple(suites.SUITES) == SUITE_NAMES
