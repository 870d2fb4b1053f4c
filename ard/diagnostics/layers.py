"""The layers of a network as an image meets them: their weights with BatchNorm folded in, and the grids they see."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ard.attacks.folding import folded
from ard.core.errors import UserError
from ard.diagnostics.base import NotApplicableError

HeightWidth = tuple[int, int]
BATCH_NORMS = nn.BatchNorm1d | nn.BatchNorm2d


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer that ran: W of shape (out, in / groups, height, width), its height and width 1 for a linear layer.

    Attributes:
        name: Of the module in its network.
        weight: W, times γ/σ of the BatchNorm behind it where that can be folded in.
        grid: Height and width of its input; a linear layer has (1, 1).
        stride: Of a convolution, as dilation and groups.
        norm: Whether it is a BatchNorm that no layer before it takes in: in eval mode it multiplies each channel by γ/σ.
    """

    name: str
    weight: Tensor
    grid: HeightWidth = (1, 1)
    stride: HeightWidth = (1, 1)
    dilation: HeightWidth = (1, 1)
    groups: int = 1
    norm: bool = False


def layers_of(network: nn.Module, x: Tensor) -> list[Layer]:
    """The Conv2d, Linear and unfolded BatchNorm layers that images x run through, in their order; each once.

    Raises NotApplicableError where there is no Conv2d or Linear, and UserError for weights that are not finite.
    """
    found: dict[str, Layer | None] = {}
    names = {module: name for name, module in network.named_modules()}

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        found[names[module]] = _seen(names[module], module, inputs[0], output)

    with ExitStack() as hooks, torch.no_grad(), folded(network):
        network(x)  # folds; a layer with a hook would not be
        for module in names:
            if isinstance(module, nn.Conv2d | nn.Linear | BATCH_NORMS):
                hooks.enter_context(module.register_forward_hook(note))
        network(x)
    layers = [layer for layer in found.values() if layer is not None]
    if all(layer.norm for layer in layers):
        raise NotApplicableError("no Conv2d or Linear layer runs in this network")
    return list(_finite(layers))


def _seen(name: str, module: nn.Module, x: Tensor, output: Tensor) -> Layer | None:
    if isinstance(module, nn.Conv2d):
        height, width = x.shape[-2:]
        return Layer(
            name=name,
            weight=module.weight.detach(),
            grid=(height, width),
            stride=_two(module.stride),
            dilation=_two(module.dilation),
            groups=module.groups,
        )
    if isinstance(module, nn.Linear):
        return Layer(name=name, weight=module.weight.detach()[:, :, None, None])
    assert isinstance(module, BATCH_NORMS)
    if output is x or module.running_var is None:  # folded into the layer before, or another scale for each batch
        return None
    scale = (module.running_var + module.eps).rsqrt() * (1 if module.weight is None else module.weight.detach())
    return Layer(name=name, weight=scale[:, None, None, None], groups=len(scale), norm=True)


def _two(of: tuple[int, ...]) -> HeightWidth:
    return of[0], of[1]


def _finite(layers: list[Layer]) -> Iterator[Layer]:
    for layer in layers:
        if not layer.weight.isfinite().all():
            raise UserError(f"layer {layer.name} has weights that are not finite: was the training cut off as it diverged?")
        yield layer
