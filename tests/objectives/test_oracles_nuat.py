"""NuAT in numpy and float64, from the same draws: the norm, the start, both losses, the guide; and its laws."""

import copy

import numpy as np
import pytest
import torch
from logit_table import BATCH, X_ADV, LogitTable, X, assert_loss_and_gradient, ce, pair
from tiny import generator, images, labels, run_facts, tiny_net, user_error

from ard.attacks import FGSM, L2, Linf, attacking
from ard.losses import cross_entropy
from ard.objectives.base import Step
from ard.objectives.nuat import NuAT, nuclear_norm
from ard.training.step import take

EPS = 0.1
BALLS = pytest.mark.parametrize("threat", [Linf(eps=EPS), L2(eps=EPS)], ids=lambda ball: ball.norm)


def nuat(*, threat=None, epochs=10, batch=1, epoch=5, seed=5, **options):
    objective = NuAT(**options)
    objective.setup_all(run_facts(threat=threat or Linf(eps=EPS), max_epochs=epochs))
    objective.begin(Step(epoch=epoch, batch=batch, eps=EPS, generator=generator(seed)))
    return objective


def nuclear(clean, adv):
    return np.linalg.svd(clean - adv, compute_uv=False).sum()


@pytest.mark.parametrize("shape", [(6, 4), (3, 5), (4, 4), (1, 4)])
def test_the_nuclear_norm_and_its_gradient(shape):
    matrix = torch.randn(shape, generator=generator(), dtype=torch.float64).requires_grad_()
    left, values, right = np.linalg.svd(matrix.detach().numpy(), full_matrices=False)
    value = nuclear_norm(matrix)
    assert value.item() == pytest.approx(values.sum(), rel=1e-12)
    (gradient,) = torch.autograd.grad(value, matrix)
    np.testing.assert_allclose(gradient.numpy(), left @ right, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_where_there_is_nothing_between_the_answers_there_is_no_gradient(dtype):
    """One that may be NaN or of any direction would be multiplied by λ = 0 in the first epoch, and by more later."""
    matrix = torch.zeros(6, 4, dtype=dtype, requires_grad=True)
    value = nuclear_norm(matrix)
    (gradient,) = torch.autograd.grad(value, matrix)
    assert (value.item(), gradient.abs().max().item()) == (0.0, 0.0)


def test_lost_rank_gives_no_direction_of_its_own():
    one = torch.outer(torch.arange(1.0, 7.0), torch.tensor([1.0, -2.0, 0.0, 3.0])).requires_grad_()
    (gradient,) = torch.autograd.grad(nuclear_norm(one), one)
    torch.testing.assert_close(gradient, one.detach() / one.detach().norm())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_seen_and_not_raised(bad):
    matrix = torch.ones(6, 4)
    matrix[2, 1] = bad
    assert nuclear_norm(matrix.requires_grad_()).isnan()


def test_autocast_does_not_round_the_gradient():
    matrix = torch.randn(6, 4, generator=generator()).requires_grad_()
    (expected,) = torch.autograd.grad(nuclear_norm(matrix), matrix)
    with torch.autocast("cpu", torch.bfloat16):
        (found,) = torch.autograd.grad(nuclear_norm(matrix), matrix)
    assert torch.equal(found, expected)


def test_the_start_given_the_draws():
    start = pair(nuat(seed=3), tiny_net().double())[0].start
    signs = np.where(torch.rand(X.shape, generator=generator(3), dtype=X.dtype).numpy() < 0.5, 1.0, -1.0)
    np.testing.assert_allclose(start.numpy(), np.clip(X.numpy() + EPS / 2 * signs, 0, 1), rtol=1e-12)
    assert 0.4 < (signs > 0).mean() < 0.6


@BALLS
def test_start_and_attacked_images_lie_in_the_ball(threat):
    attack, student = FGSM(threat), tiny_net().double().eval()
    for batch in range(2):
        loss, _ = pair(nuat(threat=threat, batch=batch), student)
        x_adv = attack(loss, X, generator())
        for points, reach in ((loss.start, EPS / 2), (x_adv, attack.reach)):
            assert points.min() >= 0
            assert points.max() <= 1
            assert threat.distance(points - X).max() <= reach * (1 + 1e-6)


@pytest.mark.parametrize("batch", [0, 1, 2, 3])
@pytest.mark.parametrize(("batch_size", "divisor"), [(None, BATCH), (64, 64)])
def test_every_second_attack_drives_the_answers_apart(batch, batch_size, divisor):
    """Their sum, which an attack climbs, is B times what the paper's climbs."""
    student = LogitTable(X, X_ADV)
    loss, _ = pair(nuat(batch=batch, batch_size=batch_size, strength=3.0, rise=1.0), student)
    clean, adv = student.numbers(2)
    expected = ce(adv) + (batch % 2) * 1.5 * nuclear(clean, adv) / divisor
    np.testing.assert_allclose(loss(X_ADV).detach(), expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("epoch", "rise", "share"), [(0, 0.9, 0.0), (1, 0.9, 1 / 9), (5, 1.0, 0.5), (9, 1.0, 0.9), (8, 0.8, 1.0), (9, 0.9, 1.0)]
)
def test_losses_and_gradients(epoch, rise, share):
    student = LogitTable(X, X_ADV)
    terms = pair(nuat(epoch=epoch, rise=rise, strength=4.5), student)[1](X_ADV)
    assert set(terms) == {"ce", "nuclear"}
    assert_loss_and_gradient(terms["ce"], lambda clean, _: ce(clean).mean(), student)
    assert_loss_and_gradient(terms["nuclear"], lambda clean, adv: 4.5 * share * nuclear(clean, adv) / BATCH, student)


@pytest.mark.parametrize("epoch", [0, 5])
def test_a_batch_that_the_attack_did_not_move_trains_without_nan(epoch):
    """S(x) = S(x'): as where the attack's gradient was 0."""
    student = tiny_net().train()
    terms = pair(nuat(epoch=epoch), student.double())[1](X.clone())
    sum(terms.values()).backward()
    assert terms["nuclear"] == 0
    assert all(parameter.grad.isfinite().all() for parameter in student.parameters())


def test_the_guide_is_asked_where_it_is_needed():
    student, asked = tiny_net().double().eval(), []
    pair(nuat(), student)  # in which folding is verified
    student.register_forward_hook(lambda net, *_: asked.append(net.training))
    for batch, guide, expected in ((0, "eval", []), (1, "eval", [False]), (0, "train", [True]), (1, "train", [True])):
        asked.clear()
        pair(nuat(batch=batch, guide=guide), student)
        assert asked == expected
        assert not student.training


def test_the_guide_in_train_mode_is_the_answer_of_a_training_step():
    """BatchNorm sees the clean images, and what is attacked afterwards is the student in eval mode, as it is then."""
    student, twin, objective = tiny_net().train(), tiny_net().train(), nuat(guide="train", strength=3.0, rise=1.0)
    x, x_adv, y = X.float(), X_ADV.float(), labels(BATCH)
    with attacking(student, objective):
        attack_loss, _ = objective(student, None, x, y)
        with torch.no_grad():
            found = attack_loss(x_adv)
            guide = twin(x)
            adv = twin.eval()(x_adv)
    torch.testing.assert_close(found, cross_entropy(adv, y) + 1.5 * nuclear(guide.numpy(), adv.numpy()) / BATCH)
    assert student.training
    for name, value in twin.state_dict().items():
        torch.testing.assert_close(student.state_dict()[name], value)


def test_without_the_norm_the_step_is_of_cross_entropy_alone():
    student, x, y = tiny_net().train(), images(BATCH), labels(BATCH)
    steps = [Step(epoch=5, batch=batch, eps=EPS, generator=generator(5)) for batch in (0, 1)]

    def attacked(step, strength):
        net = copy.deepcopy(student)
        return take(net, None, nuat(strength=strength), FGSM(Linf(eps=EPS)), x, y, step, generator=generator()).x_adv

    even, odd, driven = attacked(steps[0], 0.0), attacked(steps[1], 0.0), attacked(steps[1], 200.0)
    start = (x + EPS / 2 * torch.where(torch.rand(x.shape, generator=generator(5)) < 0.5, 1.0, -1.0)).clamp(0, 1)
    start.requires_grad_()
    (gradient,) = torch.autograd.grad(cross_entropy(copy.deepcopy(student).eval()(start), y).sum(), start)
    expected = Linf(eps=EPS).project(start.detach() + EPS * gradient.sign(), x)
    torch.testing.assert_close(even, expected)
    assert torch.equal(odd, even)
    assert not torch.equal(driven, even)


def test_what_cannot_be_meant_is_refused():
    for options, line in (
        ({"strength": -1}, "strength = -1: expected at least 0"),
        ({"rise": 0}, r"rise = 0: expected a share of the epochs in \(0, 1\]"),
        ({"batch_size": 0}, "batch_size = 0: expected at least 1"),
    ):
        with user_error(line):
            NuAT(**options)
