"""Norm bias, WEISSI and head scale written out a second time, in numpy and float64, and what no scale may change."""

import numpy as np
import pytest
import torch
from tiny import images, labels, run_facts, tiny_net, user_error
from torch import nn

from ard.attacks.folding import folded
from ard.objectives.adr import ADR
from ard.objectives.head_scale import HeadScale
from ard.objectives.liet import LIET
from ard.objectives.norm_bias import NormBias
from ard.objectives.weissi import WEISSI

X, Y = images(6).double(), labels(6)


def net():
    return tiny_net(0, activation=nn.Softplus).double().eval()


def term(objective, student, name):
    """The option's own term of the training loss; its base is PGD-AT."""
    terms = objective(student, None, X, Y)[1](X)
    assert set(terms) == {"ce", name}
    return terms[name]


def gradients(value, student):
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, list(student.parameters()))]).numpy()


def flat(student, *, weights_only=False):
    return torch.cat([p.detach().flatten() for p in student.parameters() if p.ndim > 1 or not weights_only]).numpy()


def norm_bias(student, **options):
    made = NormBias(strength=0.3, **options).double()
    made.setup(run_facts(student=student))
    return made


@pytest.mark.parametrize("share", [0.5, 0.97, 1.0, 1.02, 4.0])
def test_norm_bias_is_the_huber_loss_of_the_squared_norm(share):
    """μ² such that ‖θ‖² is `share` of it: far below, near on both sides, equal, far above."""
    student = net()
    theta = flat(student)
    target = (theta**2).sum() / share
    made = norm_bias(student, squared_norm=target)
    target = made.target.item()  # as it is kept
    away, delta = (theta**2).sum() - target, 0.05 * target
    near = abs(away) <= delta
    expected = 0.3 * (away**2 / (2 * delta) if near else abs(away) - delta / 2)
    found = term(made, student, "norm_bias")
    assert found.item() == pytest.approx(expected, rel=1e-6, abs=1e-9)
    slope = 2 * 0.3 * theta * np.clip(away / delta, -1, 1)
    np.testing.assert_allclose(gradients(found, student), slope, rtol=1e-6, atol=1e-9)


def test_norm_bias_takes_its_target_from_the_student_as_it_begins():
    student = net()
    assert norm_bias(student).target.item() == pytest.approx(2 * (flat(student) ** 2).sum(), rel=1e-6)
    alone = norm_bias(student, ratio=3.0, weights_only=True)
    assert alone.target.item() == pytest.approx(3 * (flat(student, weights_only=True) ** 2).sum(), rel=1e-6)
    found = torch.autograd.grad(term(alone, student, "norm_bias"), list(student.parameters()), materialize_grads=True)
    assert [bool(g.any()) for g in found] == [p.ndim > 1 for p in student.parameters()]
    with torch.no_grad():
        student[0].weight.mul_(2)  # the run goes on
    twin = NormBias()
    twin.load_state_dict(alone.state_dict())
    assert torch.equal(twin.target, alone.target.float())


@pytest.mark.parametrize("share", [0.25, 4.0])
def test_under_norm_bias_alone_the_norm_goes_to_its_target(share):
    student = net()
    made = norm_bias(student, squared_norm=(flat(student) ** 2).sum() * share)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        term(made, student, "norm_bias").backward()
        optimizer.step()
    assert (flat(student) ** 2).sum() == pytest.approx(made.target.item(), rel=1e-3)


def weissi(student):
    return term(WEISSI(strength=1.0), student, "weissi")


def test_weissi_is_the_sum_of_logarithms_of_folded_norms():
    """In eval mode, against the folding of attacks, which is another code; in train mode with the batch's variance."""
    student = net()
    with torch.no_grad(), folded(student):
        student(X)
        kernels = [student[0].weight.numpy().copy(), student[4].weight.numpy().copy()]
    assert weissi(student).item() == pytest.approx(sum(np.log((kernel**2).sum()) for kernel in kernels), rel=1e-10)
    spread = student[0](X).detach().numpy().transpose(1, 0, 2, 3).reshape(3, -1).var(axis=1)
    kernel, gamma = (p.detach().numpy() for p in (student[0].weight, student[1].weight))
    kernels[0] = kernel * (gamma / np.sqrt(spread + 1e-5))[:, None, None, None]
    expected = sum(np.log((kernel**2).sum()) for kernel in kernels)
    assert weissi(student.train()).item() == pytest.approx(expected, rel=1e-10)


def test_a_scale_before_batch_norm_is_nothing_to_weissi():
    """Neither to its value nor to its gradient, which is across W in every channel."""
    student = net().train()
    student[1].eps = 1e-30
    before = weissi(student)
    (slope,) = torch.autograd.grad(before, student[0].weight)
    along = (slope * student[0].weight).flatten(1).sum(dim=1)
    assert slope.abs().max() > 1e-3
    torch.testing.assert_close(along, torch.zeros_like(along), rtol=0, atol=1e-12)
    with torch.no_grad():
        for parameter in student[0].parameters():
            parameter.mul_(7)
    torch.testing.assert_close(weissi(student), before)


def linear_relu():
    torch.manual_seed(0)
    sizes = [(36, 9), (9, 7), (7, 4)]
    layers = [layer for shape in sizes for layer in (nn.Linear(*shape, bias=False), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *layers[:-1]).double().eval()


def test_an_exchange_of_scale_between_layers_is_nothing_to_weissi():
    student = linear_relu()
    before, answers = weissi(student), student(X)
    with torch.no_grad():
        student[1].weight.mul_(5)
        student[3].weight.div_(5)
    torch.testing.assert_close(student(X), answers)
    torch.testing.assert_close(weissi(student), before)


def test_weissi_bounds_the_slope_of_a_chain():
    student = linear_relu()
    slopes = torch.autograd.functional.jacobian(student, X[:1]).flatten(2).squeeze()
    assert torch.linalg.matrix_norm(slopes).log() <= weissi(student) / 2


def test_a_layer_of_zeros_has_no_gradient_and_no_infinity():
    student = linear_relu()
    with torch.no_grad():
        student[3].weight.zero_()
    value = weissi(student)
    slopes = torch.autograd.grad(value, [student[1].weight, student[3].weight])
    assert value.isfinite()
    assert [slope.isfinite().all().item() and bool(slope.any()) for slope in slopes] == [True, False]


def test_head_scale_multiplies_every_logit_of_the_start():
    student, before = tiny_net().eval(), tiny_net().eval()
    HeadScale(scale=0.1).setup_all(run_facts(student=student))
    torch.testing.assert_close(student(X.float()), 0.1 * before(X.float()))
    same = [name for name, value in student.state_dict().items() if torch.equal(value, before.state_dict()[name])]
    assert set(student.state_dict()) - set(same) == {"4.weight", "4.bias"}
    assert not student.training


@pytest.mark.parametrize("kind", [ADR, LIET, NormBias])
def test_a_method_begins_with_the_scaled_student_whether_it_is_around_or_inside(kind):
    scaled = net().float()
    HeadScale(scale=0.1).setup_all(run_facts(student=scaled))
    for make in (lambda: kind(base=HeadScale(scale=0.1)), lambda: HeadScale(base=kind(), scale=0.1)):
        found, expected, student = make(), kind(), net().float()
        found.setup_all(run_facts(student=student))
        expected.setup_all(run_facts(student=scaled))
        torch.testing.assert_close(student.state_dict(), scaled.state_dict())
        state = {name.removeprefix("base."): value for name, value in found.state_dict().items()}
        torch.testing.assert_close(state, dict(expected.state_dict()))


def test_numbers_out_of_range():
    for make, name in (
        (lambda: NormBias(strength=-1), "strength"),
        (lambda: NormBias(squared_norm=0), "squared_norm"),
        (lambda: NormBias(width=0), "width"),
        (lambda: WEISSI(strength=-1), "strength"),
        (lambda: HeadScale(scale=0), "scale"),
    ):
        with user_error(f"{name} = .*expected"):
            make()
    with user_error("Flatten has no Conv2d and no Linear layer"):
        WEISSI().setup(run_facts(student=nn.Flatten()))
