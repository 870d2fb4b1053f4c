"""Derivatives of a mean loss in the weights, all in one vector; the weights themselves are never written to."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from ard.core.errors import UserError
from ard.diagnostics.base import NotApplicableError
from ard.diagnostics.inspected import Inspected

AT_ONCE = 32  # images: a second derivative keeps everything that lies between
NOTHING = 1e-6  # of the largest number so far: what rounding leaves of a vector that is used up


class MeanLoss:
    """L(θ) = mean cross entropy of a network on images x with labels y; θ all its parameters in their order."""

    def __init__(self, network: nn.Module, x: Tensor, y: Tensor) -> None:
        self.network, self.x, self.y = network, x, y
        self.weights = {name: p.detach().clone().requires_grad_() for name, p in network.named_parameters()}
        if not self.weights:
            raise NotApplicableError("a network without parameters has no derivatives in them")

    @property
    def theta(self) -> Tensor:
        """θ as one vector."""
        return _vector([weight.detach() for weight in self.weights.values()])

    def gradient(self) -> Tensor:
        """∂L/∂θ as one vector."""
        return self._sum(lambda gradients: [gradient.detach() for gradient in gradients], again=False)

    def hessian_times(self, vector: Tensor) -> Tensor:
        """(∂²L/∂θ²) v as one vector, without the matrix."""
        parts = vector.split([weight.numel() for weight in self.weights.values()])
        towards = [part.view(weight.shape) for part, weight in zip(parts, self.weights.values(), strict=True)]

        def along(gradients: Sequence[Tensor]) -> Sequence[Tensor]:
            moving = [(g, t) for g, t in zip(gradients, towards, strict=True) if g.requires_grad]
            return self._derivative([g for g, _ in moving], [t for _, t in moving], again=False)

        return self._sum(along, again=True)

    def _sum(self, of: Callable[[Sequence[Tensor]], Sequence[Tensor]], *, again: bool) -> Tensor:
        """What `of` makes of the gradients of some images at once, summed; `again`: to be differentiated once more."""
        total = torch.zeros_like(self.theta)
        for x, y in Inspected.blocks(self.x, self.y, size=AT_ONCE):
            with sdpa_kernel(SDPBackend.MATH):  # the other ways to compute attention have no second derivative
                loss = F.cross_entropy(functional_call(self.network, self.weights, (x,)), y, reduction="sum") / len(self.y)
                total += _vector(of(self._derivative([loss], None, again=again)))
        if not total.isfinite().all():
            raise UserError("the loss has derivatives that are not finite: are the weights and the answers finite?")
        return total

    def _derivative(self, values: list[Tensor], towards: list[Tensor] | None, *, again: bool) -> Sequence[Tensor]:
        weights = list(self.weights.values())
        return torch.autograd.grad(values, weights, towards, create_graph=again, allow_unused=True, materialize_grads=True)


def _vector(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.reshape(-1) for part in parts])


@dataclass(frozen=True)
class Extremes:
    """The smallest and the largest eigenvalue, and how far from each an eigenvalue lies at most."""

    smallest: float
    largest: float
    smallest_within: float
    largest_within: float


def extreme_eigenvalues(product: Callable[[Tensor], Tensor], start: Tensor, steps: Iterable[object]) -> Extremes:
    """Of a symmetric matrix A that is known by products A v alone: Lanczos's iteration, a product a step.

    The extremes of the matrix that A becomes in the space of v, A v, A² v …: from inside, and exact once the space is whole.
    """
    vector, before, beta = start / start.norm(), torch.zeros_like(start), 0.0
    diagonal, beside, scale = [], [], 0.0
    for _ in steps:
        following = product(vector) - beta * before
        alpha = float(following.double() @ vector.double())
        following = following - alpha * vector
        beta = float(following.double().norm())
        diagonal.append(alpha)
        beside.append(beta)
        scale = max(scale, abs(alpha), beta)
        if beta <= NOTHING * scale:
            break
        before, vector = vector, following / beta
    inner = torch.tensor(beside[:-1], dtype=torch.float64)
    matrix = torch.diag(torch.tensor(diagonal, dtype=torch.float64)) + torch.diag(inner, 1) + torch.diag(inner, -1)
    values, vectors = torch.linalg.eigh(matrix)
    within = (beside[-1] * vectors[-1].abs()).tolist()
    return Extremes(float(values[0]), float(values[-1]), within[0], within[-1])
