"""What the layers of any network say: the results of its activation functions, seen wherever these are called."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ard.core.errors import UserError
from ard.diagnostics.base import NotApplicableError

Function = Callable[..., Any]
Note = Callable[[Function, Sequence[Any], Mapping[str, Any], Any], None]  # a function, what it was given, its answer


def functions_of(home: Any, names: str) -> set[Function]:
    """The functions of torch, of torch.nn.functional or of tensors with these names."""
    return {getattr(home, name) for name in names.split()}


ACTIVATIONS = (
    functions_of(F, "relu relu6 hardtanh leaky_relu prelu elu celu selu gelu silu mish hardswish softplus")
    | functions_of(torch, "relu relu_ tanh")
    | functions_of(Tensor, "relu relu_ tanh")
)
READERS = functions_of(F, "conv2d linear")
SAME_CHANNELS = (  # what lies between channels and the weights that read them
    functions_of(F, "adaptive_avg_pool2d avg_pool2d max_pool2d dropout pad")
    | functions_of(torch, "flatten mean max_pool2d")
    | functions_of(Tensor, "flatten mean contiguous")
)


@dataclass(frozen=True)
class ActivatedLayer:
    """One call of an activation function: which one of a pass, the module it is in, its channels and their (height, width).

    `fan_out` (channels,) is the norm of the weights that read each channel, with the BatchNorm behind them folded in; None
    where no layer reads them directly.
    """

    place: int
    name: str
    channels: int
    size: tuple[int, int]
    fan_out: Tensor | None


def activated_layers(network: nn.Module, x: Tensor) -> list[ActivatedLayer]:
    """The layers of a network in the order in which images x (n, C, H, W) pass them.

    Raises NotApplicableError where none is seen, as in a scripted network.
    """
    with _running(network) as name:
        probe = _Probe(len(x), name)
        _watched(network, x, probe.note)
    if not probe.shapes:
        raise NotApplicableError(f"no activation function of a {type(network).__name__} can be seen")
    return probe.layers()


def activations(network: nn.Module, x: Tensor, places: Collection[int]) -> dict[int, Tensor]:
    """What the layers at these places say to images x: (n, channels, height, width) each, a dense layer's with size 1."""
    found: dict[int, Tensor] = {}
    calls = 0

    def note(function: Function, _: Sequence[Any], __: Mapping[str, Any], answer: Any) -> None:
        nonlocal calls
        if _is_layer(function, answer, len(x)):
            if calls in places:
                found[calls] = _as_maps(answer).clone()  # what follows may write into it
            calls += 1

    _watched(network, x, note)
    return found


def penultimate(network: nn.Module, x: Tensor) -> Tensor:
    """What the last linear layer of a network reads of images x: (n, features).

    Raises NotApplicableError where there is no linear layer to be seen, and UserError where it reads what is not finite.
    """
    read: list[Tensor] = []

    def note(function: Function, given: Sequence[Any], _: Mapping[str, Any], __: Any) -> None:
        if function is F.linear:
            read[:] = [given[0].detach().flatten(1).clone()]

    _watched(network, x, note)
    if not read:
        raise NotApplicableError(f"no linear layer of a {type(network).__name__} can be seen")
    if not read[0].isfinite().all():
        raise UserError(f"the last layer of a {type(network).__name__} reads numbers that are not finite")
    return read[0]


class _Watching(TorchFunctionMode):
    """Tells of every call of a function of torch."""

    def __init__(self, note: Note) -> None:
        super().__init__()
        self.note = note

    def __torch_function__(
        self, function: Function, _: Any, given: Sequence[Any] = (), named: dict[str, Any] | None = None
    ) -> Any:
        named = named or {}
        answer = function(*given, **named)
        self.note(function, given, named, answer)
        return answer


def _watched(network: nn.Module, x: Tensor, note: Note) -> None:
    with torch.no_grad(), _Watching(note):
        network(x)


@contextmanager
def _running(network: nn.Module) -> Iterator[Callable[[], str]]:
    """Yields a function: the name of the module whose forward runs."""
    stack = [type(network).__name__]

    def enter(name: str) -> Callable[[nn.Module, Any], None]:
        return lambda *_: stack.append(name)

    def leave(*_: Any) -> None:
        stack.pop()

    with ExitStack() as hooks:
        for name, module in network.named_modules():
            hooks.enter_context(module.register_forward_pre_hook(enter(name or stack[0])))
            hooks.enter_context(module.register_forward_hook(leave))
        yield lambda: stack[-1]


@dataclass
class _Reader:
    """Weights (out, in / groups, ...) that read the channels of the layer at `place`; `scale` is the BatchNorm's."""

    place: int
    weight: Tensor
    groups: int
    scale: Tensor | float = 1.0

    def squares(self, channels: int) -> Tensor | None:
        """The squared norm of the weights of each channel; None where they read something else than channels."""
        weight = self.weight.flatten(1) * (self.scale if isinstance(self.scale, float) else self.scale[:, None])
        if weight.shape[1] * self.groups % channels:
            return None
        return (
            weight.view(self.groups, weight.shape[0] // self.groups, channels // self.groups, -1)
            .square()
            .sum(dim=(1, 3))
            .flatten()
        )


@dataclass
class _Probe:
    """Follows one pass: which tensor has the channels of which layer, and which weights read it."""

    images: int
    running: Callable[[], str]
    names: list[str] = field(default_factory=list)
    shapes: list[tuple[int, int, int]] = field(default_factory=list)
    readers: list[_Reader] = field(default_factory=list)
    held: list[Tensor] = field(default_factory=list)  # so that no tensor gets the identity of an earlier one
    origin: dict[int, int] = field(default_factory=dict)
    read_by: dict[int, _Reader] = field(default_factory=dict)

    def note(self, function: Function, given: Sequence[Any], named: Mapping[str, Any], answer: Any) -> None:
        if not (given and isinstance(answer, Tensor)):
            return
        self.held.append(answer)
        source = self.origin.get(id(given[0]))
        if _is_layer(function, answer, self.images):
            self.origin[id(answer)] = len(self.shapes)
            self.names.append(self.running())
            maps = _as_maps(answer)
            self.shapes.append((maps.shape[1], maps.shape[2], maps.shape[3]))
        elif function in READERS and source is not None:
            groups = given[6] if function is F.conv2d and len(given) > 6 else 1
            self.readers.append(_Reader(source, given[1].detach(), groups))
            self.read_by[id(answer)] = self.readers[-1]
        elif function is F.batch_norm and given[2] is not None and (reader := self.read_by.get(id(given[0]))):
            scale, weight = (given[2] + named["eps"]).rsqrt(), named["weight"]
            reader.scale = scale if weight is None else (scale * weight).detach()
        elif function in SAME_CHANNELS and source is not None:
            self.origin[id(answer)] = source

    def layers(self) -> list[ActivatedLayer]:
        seen: dict[str, int] = {}
        found = []
        for place, (name, (channels, height, width)) in enumerate(zip(self.names, self.shapes, strict=True)):
            seen[name] = seen.get(name, 0) + 1
            unique = name if seen[name] == 1 else f"{name} ({seen[name]})"
            found.append(ActivatedLayer(place, unique, channels, (height, width), self._fan_out(place, channels)))
        return found

    def _fan_out(self, place: int, channels: int) -> Tensor | None:
        squares = [reader.squares(channels) for reader in self.readers if reader.place == place]
        read = [square for square in squares if square is not None]
        return torch.stack(read).sum(dim=0).sqrt() if read else None


def _is_layer(function: Function, answer: Any, images: int) -> bool:
    """Whether an activation function said something to each image, and not to a parameter."""
    return function in ACTIVATIONS and answer.ndim >= 2 and len(answer) == images


def _as_maps(answer: Tensor) -> Tensor:
    """(n, channels, height, width), of (n, features) and of (n, tokens, features), too."""
    if answer.ndim == 3:
        return answer.transpose(1, 2)[..., None]
    return answer if answer.ndim == 4 else answer.flatten(1)[:, :, None, None]
