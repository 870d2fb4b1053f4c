"""Interval bounds: a box of images in, for every logit a lower and an upper bound out."""

from collections.abc import Callable
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ard.core.errors import UserError
from ard.core.modes import in_mode
from ard.losses import at_least_float32

Part = Callable[[Tensor], Tensor]
Factor = Tensor | float

# What never falls where its input rises, and needs no more than both ends.
MONOTONE = {
    F.relu,
    torch.relu,
    F.relu6,
    F.hardtanh,
    F.leaky_relu,
    F.softplus,
    F.sigmoid,
    torch.sigmoid,
    F.tanh,
    torch.tanh,
    F.avg_pool2d,
    F.adaptive_avg_pool2d,
    F.max_pool2d,
    torch.max_pool2d,
    F.dropout,
    torch.flatten,
}


class TensorInterval:
    """Every tensor between `lower` and `upper`, of one shape; a network is called with it as with a tensor.

    Linear parts map the middle by W and the radius by |W|; parts that never fall map both ends. Each part is bounded by
    itself, so the bounds hold and widen from layer to layer.

    Args:
        lower: The lower ends.
        upper: The upper ends.
        of_batch: Whether BatchNorm divides by the deviation of the batch's middles, as in training, and not by the running
            one: the gradient then knows that a scale before it changes nothing. The bounds are then those of that function.
    """

    def __init__(self, lower: Tensor, upper: Tensor, *, of_batch: bool = False) -> None:
        self.lower, self.upper, self.of_batch = lower, upper, of_batch

    @property
    def middle(self) -> Tensor:
        return (self.lower + self.upper) / 2

    @property
    def radius(self) -> Tensor:
        return (self.upper - self.lower) / 2

    @property
    def shape(self) -> torch.Size:
        return self.lower.shape

    @property
    def device(self) -> torch.device:
        return self.lower.device

    @property
    def dtype(self) -> torch.dtype:
        return self.lower.dtype

    def dim(self) -> int:
        return self.lower.dim()

    def size(self, *place: int) -> Any:
        return self.lower.size(*place)

    def each(self, part: Part) -> Self:
        """Both ends through something that never falls."""
        return type(self)(part(self.lower), part(self.upper), of_batch=self.of_batch)

    def around(self, middle: Tensor, radius: Tensor) -> Self:
        """Another interval, by its middle and its radius."""
        return type(self)(middle - radius, middle + radius, of_batch=self.of_batch)

    def float(self) -> Self:
        return self.each(Tensor.float)

    def contiguous(self) -> Self:
        return self.each(Tensor.contiguous)

    def mean(self, *args: Any, **kwargs: Any) -> Self:
        return self.each(lambda end: end.mean(*args, **kwargs))

    def flatten(self, *args: Any) -> Self:
        return self.each(lambda end: end.flatten(*args))

    def view(self, *args: Any) -> Self:
        return self.each(lambda end: end.view(*args))

    def reshape(self, *args: Any) -> Self:
        return self.each(lambda end: end.reshape(*args))

    def __add__(self, other: "TensorInterval | Factor") -> Self:
        if isinstance(other, TensorInterval):
            return type(self)(self.lower + other.lower, self.upper + other.upper, of_batch=self.of_batch)
        return self.each(lambda end: end + other)

    __radd__ = __iadd__ = __add__

    def __sub__(self, other: "TensorInterval | Factor") -> Self:
        if isinstance(other, TensorInterval):
            return type(self)(self.lower - other.upper, self.upper - other.lower, of_batch=self.of_batch)
        return self.each(lambda end: end - other)

    def __mul__(self, other: Factor) -> Self:
        return self.around(self.middle * other, self.radius * _size(other))

    __rmul__ = __mul__

    def __truediv__(self, other: Factor) -> Self:
        return self.around(self.middle / other, self.radius / _size(other))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise _unknown(name)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        x, *rest = args
        if isinstance(x, cls) and func in (F.conv2d, F.linear):
            return _linear(func, x, *rest, **kwargs)
        if isinstance(x, cls) and func is F.batch_norm:
            return _normalised(x, *rest, **kwargs)
        if isinstance(x, cls) and func in MONOTONE:
            return x.each(lambda end: func(end, *rest, **{**kwargs, **({"inplace": False} if "inplace" in kwargs else {})}))
        raise _unknown(getattr(func, "__name__", str(func)))


def interval_bounds(network: nn.Module, x: Tensor, radius: Factor, *, of_batch: bool = False) -> TensorInterval:
    """Bounds of the network's logits over all images in [0, 1] within `radius` of x in every pixel, in eval mode.

    Args:
        network: Pixels to logits, made of convolutions, linear layers, BatchNorm, shortcuts, pooling and activations that
            never fall. Its forward hooks are not called.
        x: Images, shape (batch, channels, height, width).
        radius: At least 0; at 0 both bounds are the logits.
        of_batch: See TensorInterval.

    Returns:
        lower and upper, shape (batch, C) each, in at least float32 also under autocast.

    Raises:
        UserError: For a network with other parts.
    """
    with in_mode(network), torch.autocast(x.device.type, enabled=False):
        x = at_least_float32(x)
        box = TensorInterval((x - radius).clamp(0, 1), (x + radius).clamp(0, 1), of_batch=of_batch)
        return network.forward(box)


def _linear(
    func: Callable[..., Tensor], x: TensorInterval, weight: Tensor, bias: Tensor | None = None, *rest: Any
) -> TensorInterval:
    return x.around(func(x.middle, weight, bias, *rest), func(x.radius, weight.abs(), None, *rest))


def _normalised(
    x: TensorInterval,
    mean: Tensor | None,
    var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,  # noqa: ARG001
    momentum: float = 0.1,  # noqa: ARG001
    eps: float = 1e-5,
) -> TensorInterval:
    """As BatchNorm, whose running statistics stay as they are."""
    middle, shape = x.middle, [1, -1, *[1] * (x.dim() - 2)]
    if x.of_batch or mean is None or var is None:
        others = [place for place in range(x.dim()) if place != 1]
        mean, var = middle.mean(dim=others), middle.var(dim=others, correction=0)
    scale = (var + eps).rsqrt() * (1 if weight is None else weight)
    moved = (middle - mean.view(shape)) * scale.view(shape)
    return x.around(moved if bias is None else moved + bias.view(shape), x.radius * scale.abs().view(shape))


def _size(factor: Factor) -> Factor:
    return factor.abs() if isinstance(factor, Tensor) else abs(factor)


def _unknown(name: str) -> UserError:
    return UserError(
        f"no interval bounds for {name}: expected a network of convolutions, linear layers, BatchNorm, shortcuts, pooling "
        "and activations that never fall, such as ReLU"
    )
