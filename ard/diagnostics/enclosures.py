"""Interval arithmetic through the forward of a network: an enclosure goes in where images do, and meets every layer."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ard.diagnostics.activations import functions_of
from ard.diagnostics.base import NotApplicableError

AS_A_TENSOR = ("shape", "ndim", "dtype", "device", "is_cuda", "dim", "size")


@dataclass(frozen=True, eq=False)
class Enclosure:
    """All tensors with `centre` − `radius` <= value <= `centre` + `radius`, radius >= 0, both of one shape.

    Handed to a network in place of images it comes out as an enclosure of all its answers. Raises NotApplicableError at a
    function that has no rule. `inner`, `weight` and `bias` are what the linear layer that made it read, and has.
    """

    centre: Tensor
    radius: Tensor
    inner: "Enclosure | None" = None
    weight: Tensor | None = None
    bias: Tensor | None = None

    @classmethod
    def between(cls, low: Tensor, high: Tensor) -> "Enclosure":
        """The smallest that holds what lies between two tensors."""
        return cls((low + high) / 2, (high - low) / 2)

    @property
    def low(self) -> Tensor:
        """Its lower end."""
        return self.centre - self.radius

    @property
    def high(self) -> Tensor:
        """Its upper end."""
        return self.centre + self.radius

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], _: Any, given: Sequence[Any] = (), named: dict[str, Any] | None = None
    ) -> Any:
        if function not in RULES:
            raise NotApplicableError(f"interval arithmetic has no rule here for {getattr(function, '__name__', function)}")
        return RULES[function](*given, **(named or {}))

    def __getattr__(self, name: str) -> Any:
        if name in AS_A_TENSOR:
            return getattr(self.centre, name)
        if (method := getattr(Tensor, name, None)) in RULES:
            return partial(RULES[method], self)
        raise NotApplicableError(f"interval arithmetic has no rule here for Tensor.{name}")

    def __add__(self, other: Any) -> "Enclosure":
        if isinstance(other, Enclosure):
            return Enclosure(self.centre + other.centre, self.radius + other.radius)
        return Enclosure(self.centre + other, self.radius)

    def __sub__(self, other: Any) -> "Enclosure":
        return self + other * -1

    def __mul__(self, factor: Any) -> "Enclosure":
        if isinstance(factor, Enclosure):
            raise NotApplicableError("interval arithmetic has no rule here for a product of two answers")
        return Enclosure(self.centre * factor, self.radius * abs(factor))

    def __truediv__(self, divisor: Any) -> "Enclosure":
        return self * (1 / divisor)

    __radd__, __rmul__ = __add__, __mul__


def enclosed(network: nn.Module, low: Tensor, high: Tensor) -> Enclosure:
    """An enclosure of a network's logits on all images between two, (n, C, H, W) each.

    Raises NotApplicableError for a network with a layer that interval arithmetic has no rule for.
    """
    try:
        with torch.no_grad():
            answer = network(Enclosure.between(low, high))
    except (TypeError, RuntimeError) as error:  # what a scripted network says of anything that is no tensor
        raise NotApplicableError(f"interval arithmetic cannot follow a {type(network).__name__}") from error
    if not isinstance(answer, Enclosure):
        raise NotApplicableError(f"interval arithmetic cannot follow a {type(network).__name__}")
    return answer


def smallest_margin(logits: Enclosure, y: Tensor) -> Tensor:
    """A lower bound (n,) of f_y − max_{j≠y} f_j over an enclosure of logits (n, C).

    Where a linear layer made them, of (w_y − w_j) h: what both logits have in common does not count twice.
    """
    bounds = [_lead(logits, y, other) for other in range(logits.centre.shape[1])]
    return torch.stack(bounds, dim=1).scatter(1, y[:, None], math.inf).amin(dim=1)


def _lead(logits: Enclosure, y: Tensor, other: int) -> Tensor:
    """A lower bound (n,) of f_y − f_other."""
    if logits.inner is None or logits.weight is None:
        return logits.low.gather(1, y[:, None]).squeeze(1) - logits.high[:, other]
    weight = logits.weight[y] - logits.weight[other]
    lead = (weight * logits.inner.centre - weight.abs() * logits.inner.radius).sum(dim=1)
    return lead if logits.bias is None else lead + logits.bias[y] - logits.bias[other]


def _convolved(x: Enclosure, weight: Tensor, bias: Tensor | None = None, *rest: Any, **more: Any) -> Enclosure:
    return Enclosure(F.conv2d(x.centre, weight, bias, *rest, **more), F.conv2d(x.radius, weight.abs(), None, *rest, **more))


def _linear(x: Enclosure, weight: Tensor, bias: Tensor | None = None) -> Enclosure:
    return Enclosure(F.linear(x.centre, weight, bias), F.linear(x.radius, weight.abs()), x, weight, bias)


def _normalised(
    x: Enclosure, mean: Tensor, var: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, **more: Any
) -> Enclosure:
    """BatchNorm in eval mode is affine, a scale and a shift a channel."""
    nothing, one = torch.zeros_like(mean), None if weight is None else weight.abs()
    return Enclosure(
        F.batch_norm(x.centre, mean, var, weight, bias, **more),
        F.batch_norm(x.radius, nothing, var, one, None, **more),
    )


def _rising(function: Callable[..., Tensor]) -> Callable[..., Enclosure]:
    """The rule of a function that never falls: its ends are those of the ends."""
    return lambda x, *rest, **more: Enclosure.between(function(x.low, *rest, **more), function(x.high, *rest, **more))


def _averaging(function: Callable[..., Tensor]) -> Callable[..., Enclosure]:
    """The rule of a function that moves, drops or averages entries: the radius goes the same way as the centre."""
    return lambda x, *rest, **more: Enclosure(function(x.centre, *rest, **more), function(x.radius, *rest, **more))


def _kept(x: Enclosure, *_: Any, **more: Any) -> Enclosure:
    """Dropout in eval mode, and changes of memory alone."""
    if more.get("training"):
        raise NotApplicableError("interval arithmetic has no rule here for dropout that is on")
    return x


RISING = (
    functions_of(F, "relu relu6 hardtanh leaky_relu elu softplus max_pool2d")
    | functions_of(torch, "relu tanh sigmoid max_pool2d")
    | functions_of(Tensor, "relu tanh sigmoid")
)
AVERAGING = (
    functions_of(F, "avg_pool2d adaptive_avg_pool2d")
    | functions_of(torch, "mean flatten")
    | functions_of(Tensor, "mean flatten view reshape squeeze")
)
RULES: dict[Any, Callable[..., Enclosure]] = {
    F.conv2d: _convolved,
    F.linear: _linear,
    F.batch_norm: _normalised,
    F.dropout: _kept,
    Tensor.contiguous: _kept,
    **{function: _rising(function) for function in RISING},
    **{function: _averaging(function) for function in AVERAGING},
}
