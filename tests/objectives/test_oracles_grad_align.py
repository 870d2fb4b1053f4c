"""GradAlign written out for a network small enough for derivatives by hand, in float64."""

import numpy as np
import pytest
import torch
from logit_table import X_ADV, X, Y, pair
from tiny import generator, run_facts
from torch import nn

from ard.attacks import L2, Linf, attacking
from ard.objectives.base import Step
from ard.objectives.grad_align import GradAlign

EPS = 0.125  # exact in float32, in which it is kept
STUDENT = nn.Sequential(nn.Flatten(), nn.Linear(36, 5), nn.Tanh(), nn.Linear(5, 4)).double()
with torch.random.fork_rng([]):
    torch.manual_seed(0)
    for parameter in STUDENT.parameters():
        nn.init.normal_(parameter, std=0.5)


def objective(strength=0.2, saturated=1.0):
    made = GradAlign(strength=strength, saturated=saturated)
    made.begin(Step(generator=generator(5), eps=EPS))
    return made


def probabilities(x):
    w1, b1, w2, b2 = STUDENT.parameters()
    hidden = torch.tanh(x.flatten(1) @ w1.T + b1)
    return torch.softmax(hidden @ w2.T + b2, dim=1), hidden


def input_gradient(x):
    """(p − onehot(y)) W2 diag(1 − h²) W1: the chain rule by hand, itself differentiable."""
    p, hidden = probabilities(x)
    w1, w2 = STUDENT[1].weight, STUDENT[3].weight
    return (((p - torch.eye(4).double()[Y]) @ w2) * (1 - hidden**2)) @ w1


def align(strength=0.2):
    eta = EPS * (2 * torch.rand(X.shape, generator=generator(5), dtype=X.dtype) - 1)
    here, there = input_gradient(X).detach(), input_gradient(X + eta)
    cosine = (here * there).sum(1) / (here.square().sum(1).sqrt() * there.square().sum(1).sqrt())
    return strength * (1 - cosine).mean()


def gradients(loss):
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(STUDENT.parameters()), allow_unused=True)[:3]])


@pytest.mark.parametrize("strength", [0.2, 1.5])
def test_grad_align(strength):
    attack_loss, training_loss = pair(objective(strength), STUDENT)
    terms = training_loss(X_ADV)
    assert set(terms) == {"ce", "align"}
    hard = -probabilities(X_ADV)[0][range(len(Y)), Y].log()
    torch.testing.assert_close(attack_loss(X_ADV), hard, rtol=1e-10, atol=0)
    torch.testing.assert_close(terms["ce"], hard.mean(), rtol=1e-10, atol=0)
    torch.testing.assert_close(terms["align"], align(strength).detach(), rtol=1e-10, atol=0)


def test_both_terms_gradients():
    terms = pair(objective(), STUDENT)[1](X_ADV)
    for name, expected in (("ce", -probabilities(X_ADV)[0][range(len(Y)), Y].log().mean()), ("align", align())):
        torch.testing.assert_close(gradients(terms[name]), gradients(expected), rtol=1e-8, atol=1e-12)


def test_the_first_gradient_is_a_constant():
    """Differentiated too, it would pull in a clearly different direction."""
    eta = EPS * (2 * torch.rand(X.shape, generator=generator(5), dtype=X.dtype) - 1)
    both = (1 - torch.cosine_similarity(input_gradient(X), input_gradient(X + eta))).mean()
    found = gradients(pair(objective(), STUDENT)[1](X_ADV)["align"])
    assert torch.cosine_similarity(found, gradients(both), dim=0) < 0.9


SATURATED = X.clone()  # by a sixth, as bright and dark parts of photographs are
SATURATED[:, :, 0] = torch.tensor([0.0, 1, 1, 0, 1, 0])


def written_out(halved, weight=None):
    """The regulariser in numpy: the chain rule by hand, the first gradient multiplied at pixels that are 0 or 1.

    With other weights of the last layer for the second gradient, the one that is differentiated.
    """
    w1, b1, w2, b2 = (parameter.detach().numpy() for parameter in STUDENT.parameters())

    def gradient(pixels, w2):
        hidden = np.tanh(pixels @ w1.T + b1)
        p = np.exp(hidden @ w2.T + b2)
        return ((p / p.sum(1, keepdims=True) - np.eye(4)[Y.numpy()]) @ w2 * (1 - hidden**2)) @ w1

    eta = EPS * (2 * torch.rand(X.shape, generator=generator(5), dtype=X.dtype) - 1)
    x, eta = (part.flatten(1).numpy() for part in (SATURATED, eta))
    here = gradient(x, w2) * np.where(np.isin(x, (0, 1)), halved, 1)
    there = gradient(x + eta, w2 if weight is None else weight)
    return 0.2 * (1 - (here * there).sum(1) / np.linalg.norm(here, axis=1) / np.linalg.norm(there, axis=1)).mean()


@pytest.mark.parametrize("saturated", [0.5, 0.0, 1.0])
def test_the_released_code_halves_the_first_gradient_at_saturated_pixels(saturated):
    made = objective(saturated=saturated)
    with attacking(STUDENT, made):
        _, training_loss = made(STUDENT, None, SATURATED, Y)
    found = training_loss(X_ADV)["align"]
    assert found.item() == pytest.approx(written_out(saturated), rel=1e-9)
    assert (found.item() > 1.1 * written_out(1.0)) == (saturated != 1)
    (gradient,) = torch.autograd.grad(found, STUDENT[3].weight)
    weight = STUDENT[3].weight.detach().numpy()
    for place in np.ndindex(weight.shape):
        moved = np.zeros_like(weight)
        moved[place] = 1e-6
        slope = (written_out(saturated, weight + moved) - written_out(saturated, weight - moved)) / 2e-6
        assert gradient[place].item() == pytest.approx(slope, rel=1e-5, abs=1e-9)


def test_a_half_is_what_torch_makes_of_the_released_clamp():
    """max(min(x, 1), 0), not torch.clamp, whose derivative is 1 there."""
    x = torch.tensor([0.0, 0.5, 1.0], requires_grad=True)
    torch.max(torch.min(x, torch.ones(1)), torch.zeros(1)).sum().backward()
    assert x.grad.tolist() == [0.5, 1, 0.5]


def test_no_grad_around_it_does_not_matter():
    training_loss = pair(objective(), STUDENT)[1]
    expected = training_loss(X_ADV)
    with torch.no_grad():
        found = training_loss(X_ADV)
    assert {name: term.item() for name, term in found.items()} == {name: term.item() for name, term in expected.items()}


def test_the_move_is_inside_the_ball_of_the_threat():
    x = torch.rand(64, 1, 6, 6)
    for threat, size in (
        (Linf(eps=EPS), lambda eta: eta.abs().amax()),
        (L2(eps=EPS), lambda eta: eta.flatten(1).norm(dim=1).amax()),
    ):
        made = objective()
        made.setup(run_facts(threat=threat))
        for share in (1, 0.5):
            made.begin(Step(generator=generator(5), eps=share * EPS))
            assert 0.9 * share * EPS < size(made._move(x)) <= share * EPS * (1 + 1e-6)
    made.setup(run_facts(threat=Linf(eps=EPS)))
    made.begin(Step(generator=generator(5), eps=EPS))
    without = objective()
    assert torch.equal(made._move(x), without._move(x))


def test_the_radius_is_that_of_the_step():
    wide = objective()
    wide.begin(Step(generator=generator(5), eps=3 * EPS))
    assert pair(wide, STUDENT)[1](X_ADV)["align"] > 2 * pair(objective(), STUDENT)[1](X_ADV)["align"]
