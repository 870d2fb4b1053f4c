"""Threat models: the set of images an adversary may choose from, and how to move inside it."""

from abc import ABC, abstractmethod
from copy import copy
from typing import Self

import torch
from torch import Tensor

from ard.core.errors import UserError
from ard.core.radius import Radius, RadiusLike
from ard.core.text import radius

DOUBTED = 0.1  # an L2 radius below moves a single pixel by less than 26 of 255 levels, and an image hardly at all


class Ball(ABC):
    """All images in [0, 1] within `eps` of x in one norm; x has shape (batch, channels, height, width)."""

    def __init__(self, *, eps: RadiusLike) -> None:
        self.eps = float(Radius(eps))
        if not self.eps >= 0:
            raise UserError(f"eps = {eps}: expected a radius of at least 0")

    @property
    def norm(self) -> str:
        """The name under which records list this threat."""
        return type(self).__name__

    @property
    def doubt(self) -> str:
        """What makes the radius look like a mistake; empty where nothing does."""
        return ""

    def scaled(self, share: float) -> Self:
        """The ball of `share` times the radius, and this very one for a share of 1; its other attributes stay."""
        if share == 1:
            return self
        ball = copy(self)
        ball.eps = share * self.eps
        return ball

    @abstractmethod
    def uniform(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """A random perturbation inside the ball, of x's shape."""

    @abstractmethod
    def steepest(self, gradient: Tensor) -> Tensor:
        """The direction of norm 1 along which a linear loss with this gradient rises fastest."""

    @abstractmethod
    def shrink(self, delta: Tensor) -> Tensor:
        """The nearest perturbation inside the ball."""

    @abstractmethod
    def distance(self, delta: Tensor) -> Tensor:
        """The norm of each perturbation, shape (batch,)."""

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Into the ball around x, then into [0, 1]; clamping to [0, 1] never leaves the ball, since x lies in both."""
        return (x + self.shrink(x_adv - x)).clamp(0, 1)


class Linf(Ball):
    """‖x' − x‖∞ ≤ eps. Raises UserError above 0.5, where any image can be made solid grey: the units must be wrong.

    Args:
        eps: The radius, a number or a fraction such as 8/255, pixels being in [0, 1].
    """

    def __init__(self, eps: RadiusLike) -> None:
        super().__init__(eps=eps)
        if self.eps > 0.5:
            raise UserError(
                f"Linf eps = {eps}: pixels are in [0, 1], so expected at most 0.5; did you mean {self.eps:g}/255?"
            )

    def uniform(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return self.eps * (2 * torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype) - 1)

    def steepest(self, gradient: Tensor) -> Tensor:
        return gradient.sign()

    def shrink(self, delta: Tensor) -> Tensor:
        return delta.clamp(-self.eps, self.eps)

    def distance(self, delta: Tensor) -> Tensor:
        return delta.abs().flatten(1).amax(dim=1)


class L2(Ball):
    """‖x' − x‖₂ ≤ eps.

    Args:
        eps: The radius, a number or a fraction such as 8/255, pixels being in [0, 1].
    """

    def __init__(self, eps: RadiusLike) -> None:
        super().__init__(eps=eps)

    @property
    def doubt(self) -> str:
        meant = f"L2 eps {radius(self.eps)} is as good as none: it is a usual radius of Linf; of L2 that is 0.5, or 128/255"
        return meant if 0 < self.eps < DOUBTED else ""

    def uniform(self, x: Tensor, generator: torch.Generator) -> Tensor:
        direction = self.steepest(torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype))
        share = torch.rand(len(x), generator=generator, device=x.device, dtype=x.dtype) ** (1 / x[0].numel())
        return self.eps * share.view(-1, 1, 1, 1) * direction

    def steepest(self, gradient: Tensor) -> Tensor:
        # By the largest entry first: squares of the tiny gradients of confident examples underflow.
        largest = gradient.abs().amax(dim=(1, 2, 3), keepdim=True)
        scaled = gradient / largest.clamp_min(torch.finfo(gradient.dtype).tiny)
        return scaled / self._norms(scaled).clamp_min(torch.finfo(gradient.dtype).tiny)

    def shrink(self, delta: Tensor) -> Tensor:
        return delta * (self.eps / self._norms(delta).clamp_min(torch.finfo(delta.dtype).tiny)).clamp_max(1)

    def distance(self, delta: Tensor) -> Tensor:
        return delta.flatten(1).norm(dim=1)

    def _norms(self, delta: Tensor) -> Tensor:
        return self.distance(delta).view(-1, 1, 1, 1)
