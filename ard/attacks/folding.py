"""BatchNorm folded into the convolution before it, for as long as a network is attacked in eval mode."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from operator import is_not
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ard.core.float32 import whole_float32
from ard.core.flops import uncounted

NORMS = nn.BatchNorm2d, nn.SyncBatchNorm  # the second is the first in eval mode
HOOKS = "_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks"
ConvAndNorm = tuple[nn.Conv2d, nn.BatchNorm2d | nn.SyncBatchNorm]


class Known(NamedTuple):
    """The pairs of a network that consists of these modules; of another one, as where a layer was replaced, of none.

    Each pair with the modules whose answers a fold changes: the two, and what only one of them is inside.
    """

    modules: list[nn.Module]  # without the network itself, which these must not keep alive
    pairs: list[tuple[ConvAndNorm, list[nn.Module]]]


_known: "WeakKeyDictionary[nn.Module, Known]" = WeakKeyDictionary()


@contextmanager
def folded(network: nn.Module) -> Iterator[None]:
    """BN(Wx + b) = (γ/σ)(Wx + b − μ) + β as one convolution: the same function up to rounding, in fewer passes.

    The pairs are found at the network's first forward, by watching which output is whose input, and used only if the
    logits stay the same; they are looked for again where a module was added or replaced. Layers with hooks, or a forward of
    their own, stay as they are: who watches them, or computes their weights, sees what they are without. Weights are folded
    once, at the first forward inside; all comes back at the end.
    """
    undo: list[Callable[[], None]] = []

    def begin(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        if network.training:
            return  # an objective looked how it answers in train mode, where nothing can be folded
        handle.remove()
        undo.extend(_fold(conv, norm) for conv, norm in _pairs_of(network, inputs[0]))

    handle = network.register_forward_pre_hook(begin)
    try:
        yield
    finally:
        handle.remove()
        for restore in undo:
            restore()


def _pairs_of(network: nn.Module, x: Tensor) -> list[ConvAndNorm]:
    """Those that are known, or found now, and have no hooks."""
    _, *modules = network.modules()
    known = _known.get(network)
    if known is None or len(known.modules) != len(modules) or any(map(is_not, known.modules, modules)):
        with uncounted():
            pairs = _verified(network, x[:2].detach())
        inside = [(module, set(module.modules())) for module in modules]
        changed = [[module for module, parts in inside if (pair[0] in parts) != (pair[1] in parts)] for pair in pairs]
        known = _known[network] = Known(modules, list(zip(pairs, changed, strict=True)))
    return [pair for pair, changed in known.pairs if _is_fixed(pair[1]) and not any(map(_is_watched, changed))]


def _is_fixed(norm: nn.BatchNorm2d | nn.SyncBatchNorm) -> bool:
    """Whether it still answers by statistics that it holds, which who adapts a network to other images takes away."""
    return norm.running_mean is not None and not norm.training


def _is_watched(module: nn.Module) -> bool:
    """Whether somebody would see that it answers otherwise, or has given it another forward."""
    return "forward" in vars(module) or any(getattr(module, kind) for kind in HOOKS)


def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d | nn.SyncBatchNorm) -> Callable[[], None]:
    weight, bias = conv.weight, conv.bias
    with torch.no_grad():
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = (norm.running_var + norm.eps).rsqrt() * (1 if norm.weight is None else norm.weight)
        shift = (0 if bias is None else bias) - norm.running_mean
        conv.weight = nn.Parameter(weight * scale.view(-1, 1, 1, 1), requires_grad=False)
        conv.bias = nn.Parameter(shift * scale + (0 if norm.bias is None else norm.bias), requires_grad=False)
    if _cast_by_autocast(weight.device):
        conv.weight, conv.bias = (nn.Parameter(p.bfloat16(), requires_grad=False) for p in (conv.weight, conv.bias))
    norm.forward = _identity  # type: ignore[method-assign, assignment]

    def restore() -> None:
        conv.weight, conv.bias = weight, bias
        del norm.forward

    return restore


def _cast_by_autocast(device: torch.device) -> bool:
    """Whether every pass would cast a convolution's weights to bfloat16 anew; on a CPU some layers stay in float32."""
    kind = device.type
    return kind == "cuda" and torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.bfloat16


def _identity(x: Tensor) -> Tensor:
    return x


def _agree(found: Tensor, expected: Tensor) -> bool:
    """Up to the rounding of float32, which grows with the largest logit."""
    return torch.allclose(found, expected, rtol=1e-3, atol=float(1e-4 * expected.abs().amax().clamp(0.01, 1e6)))


@torch.no_grad()
def _verified(network: nn.Module, x: Tensor) -> list[ConvAndNorm]:
    """The network's pairs without those that change its logits, as their convolution's output has a second reader.

    In float32: the rounding of bfloat16 or TF32 in a trained network is larger than the tolerance. With other weights: a
    second reader may not count yet, as behind a gate that is 0 when training begins.
    """
    with torch.autocast(x.device.type, enabled=False), whole_float32(), _shaken(network):
        pairs, expected = _pairs(network, x), network(x)
        if _answers(network, x, pairs, expected):
            return pairs
        return [pair for pair in pairs if _answers(network, x, [pair], expected)]


@contextmanager
def _shaken(network: nn.Module) -> Iterator[None]:
    """Parameters near 0, such as gates, and statistics moved far from where they are; each comes back to the bit."""
    generator = torch.Generator().manual_seed(0)
    home = [(parameter, parameter.data) for parameter in network.parameters() if _is_small(parameter)]
    norms = [norm for norm in network.modules() if isinstance(norm, NORMS)]
    kept = [(norm, norm.running_mean, norm.running_var) for norm in norms]
    try:
        for norm, mean, var in kept:  # a fresh one is the identity, with which any fold agrees
            if mean is not None and var is not None:
                scale, shift = (torch.rand(var.shape, generator=generator).to(var) for _ in range(2))
                norm.running_mean, norm.running_var = mean + shift * var.sqrt(), var * (0.5 + scale)
        for parameter, value in home:
            up = (0.5 + 0.5 * torch.rand(value.shape, generator=generator)).to(value)
            parameter.data = value + up / (value.numel() // len(value) if value.ndim > 1 else 1) ** 0.5
        yield
    finally:
        for parameter, value in home:
            parameter.data = value
        for norm, mean, var in kept:
            norm.running_mean, norm.running_var = mean, var


def _is_small(parameter: nn.Parameter) -> bool:
    """A vector or number below 0.1, or weights that are all but 0; what else there is counts already."""
    if not parameter.is_floating_point() or parameter.is_inference() or not parameter.numel():
        return False
    return float(parameter.square().mean().sqrt()) < (0.1 if parameter.ndim < 2 else 1e-3)


def _answers(network: nn.Module, x: Tensor, pairs: list[ConvAndNorm], expected: Any) -> bool:
    """Whether the network, with these pairs folded, still returns the expected logits; an error of it is a no."""
    undo: list[Callable[[], None]] = []
    try:
        undo.extend(_fold(conv, norm) for conv, norm in pairs)
        return isinstance(expected, Tensor) and _agree(network(x), expected)
    except torch.OutOfMemoryError:
        raise
    except Exception:  # layers from elsewhere refuse other weights each in its own way
        return False
    finally:
        for restore in undo:
            restore()


def _pairs(network: nn.Module, x: Tensor) -> list[ConvAndNorm]:
    """Convolutions and norms that ran once each, the norm on exactly the output of the convolution."""
    answers: list[tuple[nn.Conv2d, Tensor]] = []
    pairs: list[ConvAndNorm] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv2d) and _plain(module):
            answers.append((module, output))
        elif isinstance(module, NORMS) and type(module) in NORMS and module.track_running_stats and not module.training:
            pairs.extend((conv, module) for conv, answer in answers if inputs and answer is inputs[0])

    with ExitStack() as hooks:
        for module in network.modules():
            hooks.enter_context(module.register_forward_hook(note))
        network(x)
    ran = [conv for conv, _ in answers]
    return [(conv, norm) for conv, norm in pairs if ran.count(conv) == 1 and [n for _, n in pairs].count(norm) == 1]


def _plain(conv: nn.Conv2d) -> bool:
    """Whether its weight is a parameter, which another can stand for; normalised ones are computed from others."""
    return conv._parameters.get("weight") is not None and not hasattr(conv, "parametrizations")
