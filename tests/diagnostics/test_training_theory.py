"""The values of the diagnostics of training theory where they are known by hand."""

import copy

import pytest
import torch
import torch.nn.functional as F
from inspected_networks import images, inspected, linear
from tiny import generator, tiny_net
from torch import nn

from ard.core.same_bits import copied, same_bits, tensors_of
from ard.diagnostics.base import NotApplicableError
from ard.diagnostics.curvature import MeanLoss, extreme_eigenvalues
from ard.diagnostics.training.gradient_norm import gradient_norm
from ard.diagnostics.training.hessian_eigenvalues import hessian_eigenvalues
from ard.diagnostics.training.tangent_kernel import tangent_kernel
from ard.models.frozen import Frozen

W = torch.tensor([[1.0, -2.0, 0.5, 0.0], [0.0, 1.0, 0.0, -1.0], [2.0, 0.0, 0.0, 1.0]])


def labels(n):
    return torch.arange(n) % 3


def softmax_parts(x):
    """Images with a 1 for the bias behind their pixels, in float64, and their probabilities under W."""
    rows = torch.cat([x.flatten(1), torch.ones(len(x), 1)], dim=1).double()
    return rows, (rows[:, :4] @ W.double().T).softmax(dim=1)


def test_gradient_norm_of_a_linear_network_by_hand():
    """∂L/∂(W, b) = mean (p − onehot(y)) (x, 1)ᵀ; with weight decay λ (W, b) more."""
    x, y = images(70), labels(70)
    rows, p = softmax_parts(x)
    gradient = (p - F.one_hot(y, 3)).T @ rows / 70
    theta = torch.cat([W, torch.zeros(3, 1)], dim=1).double()
    of = inspected(linear(W), x, y, weight_decay=0.1)
    found = gradient_norm(of)
    assert found.values["clean loss"] == pytest.approx(float(gradient.norm()), rel=1e-5)
    assert found.values["clean loss and weight decay"] == pytest.approx(float((gradient + 0.1 * theta).norm()), rel=1e-5)
    rows, p = softmax_parts(of.attacked)
    robust = (p - F.one_hot(y, 3)).T @ rows / 70
    assert found.values["robust loss"] == pytest.approx(float(robust.norm()), rel=1e-5)
    of.weight_decay = None
    assert set(gradient_norm(of).values) == {"clean loss", "robust loss"}


def test_the_gradient_vanishes_at_a_minimum():
    """Two classes, equally often, of the same image: 0 weights are the best."""
    x = images(1).repeat(6, 1, 1, 1)
    assert gradient_norm(inspected(linear(0 * W[:2]), x, torch.arange(6) % 2)).values["clean loss"] < 1e-7


def test_extreme_eigenvalues_of_a_quadratic_form():
    """Of ½ vᵀ A v, A = Q diag(−3, 0, 1, 2, 7) Qᵀ: the products A v alone give −3 and 7."""
    q = torch.linalg.qr(torch.randn(5, 5, generator=generator())).Q
    a = q @ torch.diag(torch.tensor([-3.0, 0, 1, 2, 7])) @ q.T
    found = extreme_eigenvalues(lambda v: a @ v, torch.randn(5, generator=generator(1)), range(20))
    assert (found.smallest, found.largest) == pytest.approx((-3, 7), abs=1e-4)


def test_extreme_eigenvalues_say_how_far_off_they_are():
    values = torch.linspace(-1, 5, 400)
    found = extreme_eigenvalues(lambda v: values * v, torch.randn(400, generator=generator()), range(6))
    for near, within in ((found.smallest, found.smallest_within), (found.largest, found.largest_within)):
        assert 0 < within < 1
        assert (values - near).abs().min() <= within + 1e-5
    assert -1 - 1e-5 <= found.smallest < found.largest <= 5 + 1e-5


def test_hessian_of_a_linear_network_by_hand():
    """∂²L/∂(W, b)² = mean (diag(p) − p pᵀ) ⊗ (x, 1)(x, 1)ᵀ."""
    x, y = images(40), labels(40)
    rows, p = softmax_parts(x)
    inner = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    hessian = torch.einsum("nab,ni,nj->aibj", inner, rows, rows).reshape(15, 15) / 40
    eigenvalues = torch.linalg.eigvalsh(hessian)
    found = hessian_eigenvalues(inspected(linear(W), x, y)).values
    assert found["clean loss, largest"] == pytest.approx(float(eigenvalues[-1]), rel=1e-4)
    assert found["clean loss, smallest"] == pytest.approx(float(eigenvalues[0]), abs=1e-3)
    assert found["clean loss, largest, ±"] < 1e-3


def test_hessian_times_a_vector_is_the_slope_of_the_gradient():
    network, x, y = tiny_net(activation=nn.Tanh).double().eval(), images(40, (1, 6, 6)).double(), torch.arange(40) % 4
    loss = MeanLoss(network, x, y)
    v, before = torch.randn(loss.theta.shape, generator=generator()).double(), copied(tensors_of(network))

    def gradient(step):
        moved = MeanLoss(copy.deepcopy(network), x, y)
        parts = v.split([weight.numel() for weight in moved.weights.values()])
        for weight, part in zip(moved.weights.values(), parts, strict=True):
            weight.data += step * part.view(weight.shape)
        return moved.gradient()

    torch.testing.assert_close(loss.hessian_times(v), (gradient(1e-5) - gradient(-1e-5)) / 2e-5, rtol=1e-5, atol=1e-7)
    assert same_bits(before, tensors_of(network))


class Attending(nn.Module):
    """Four pixels that look at each other, as in a vision transformer."""

    def __init__(self):
        super().__init__()
        self.mixed, self.head = nn.Linear(1, 8), nn.Linear(8, 3)

    def forward(self, x):
        tokens = self.mixed(x.flatten(1)[..., None])
        return self.head(F.scaled_dot_product_attention(tokens, tokens, tokens).mean(dim=1))


def test_attention_has_a_hessian_and_a_kernel():
    of = inspected(Attending(), images(6), labels(6), initial=Attending())
    assert hessian_eigenvalues(of).values["clean loss, largest"] > 0
    assert tangent_kernel(of).values["cosine with the start"] > 0


def test_the_kernel_of_a_linear_network_never_moves_and_is_that_of_every_other():
    x = images(12)
    start, teacher = linear(torch.zeros(3, 4)).eval(), linear(7 * W).eval()
    found = tangent_kernel(inspected(linear(W), x, labels(12), initial=start, teacher=teacher))
    assert found.values == pytest.approx(
        {"drift from the start": 0, "cosine with the start": 1, "cosine with the teacher": 1}
    )
    assert (found.n, found.settings) == (12, {})


def test_the_kernel_of_a_network_that_is_twice_its_start():
    """f = u · relu(W x) with u and W both doubled has gradients twice as long, so a kernel four times as large: drift 3."""
    start = two_layers()
    student = copy.deepcopy(start)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter *= 2
    found = tangent_kernel(inspected(student, images(10), labels(10), initial=start)).values
    assert found == pytest.approx({"drift from the start": 3, "cosine with the start": 1}, rel=1e-5)


def two_layers(seed=0):
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(4, 6, bias=False), nn.ReLU(), nn.Linear(6, 3, bias=False)).eval()


def test_the_kernel_is_that_of_gradients_one_by_one():
    x, student, start = images(5, (1, 6, 6)), tiny_net(0).eval(), tiny_net(1).eval()

    def kernel(network):
        rows = []
        for image in x:
            logits = network(image[None])[0]
            each = [torch.autograd.grad(logit, list(network.parameters()), retain_graph=True) for logit in logits]
            rows.append(torch.stack([torch.cat([part.flatten() for part in parts]) for parts in each]))
        jacobian = torch.stack(rows).double()
        return torch.einsum("icp,jcp->ij", jacobian, jacobian) / 4

    ours, first = kernel(student), kernel(start)
    found = tangent_kernel(inspected(student, x, torch.arange(5) % 4, initial=start)).values
    assert found["drift from the start"] == pytest.approx(float((ours - first).norm() / first.norm()), rel=1e-4)
    assert found["cosine with the start"] == pytest.approx(
        float((ours * first).sum() / ours.norm() / first.norm()), rel=1e-4
    )


def test_without_a_start_and_a_teacher_there_is_nothing_to_compare():
    of = inspected(linear(W), images(6), labels(6))
    with pytest.raises(NotApplicableError, match="neither the start of training nor a teacher"):
        tangent_kernel(of)
    of.teacher = Frozen.of(linear(W)).load(num_classes=3, input_shape=(1, 2, 2))
    found = tangent_kernel(of)
    assert found.values == {"cosine with the teacher": pytest.approx(1)}
    assert found.settings == {"start": "not compared: not known"}
