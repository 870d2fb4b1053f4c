"""The channels of a network that one layer alone reads: without them every tensor but those between two layers is as before.

They are found by tracing, so that any network will do. A channel of a sum, as the blocks of a ResNet make it, is read by
several layers and stays.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx import Node
from torch.fx.experimental.proxy_tensor import make_fx

from ard.core.errors import UserError
from ard.core.text import named_error

# Operations that leave each channel to itself; what else lies between two layers joins or moves channels.
ELEMENTWISE = {"relu", "relu6", "hardtanh", "leaky_relu", "elu", "silu", "gelu", "hardswish", "sigmoid", "tanh", "dropout"}
POOLING = {"mean", "adaptive_avg_pool2d", "avg_pool2d", "max_pool2d"}
FLATTENING = {"flatten", "view", "reshape"}


@dataclass(frozen=True, kw_only=True)
class Channels:
    """The channels between two layers; parameters by their names.

    Attributes:
        reader: The weight that reads them: channel c by its columns from c × span to (c + 1) × span.
        span: 1, but where a linear layer reads every place of a channel.
        count: How many channels there are.
        rows: The parameters whose c-th entry makes channel c: weight and bias of the layer before, of BatchNorm, of filters.
        norm_before: The weight of the last BatchNorm before the reader.
        norm_behind: That of the BatchNorm right behind it.
    """

    reader: str
    span: int
    count: int
    rows: tuple[str, ...]
    norm_before: str | None
    norm_behind: str | None

    @property
    def layer(self) -> str:
        """The name of the layer that reads them."""
        return self.reader.removesuffix("weight").rstrip(".")

    def columns(self, weight: Tensor) -> Tensor:
        """The reader's weight as (outputs, channels, whatever reads one channel): a view."""
        return weight.unflatten(1, (self.count, self.span)).flatten(2)

    @torch.no_grad()
    def remove(self, network: nn.Module, gone: Tensor) -> None:
        """Set to zero all that makes and reads the channels `gone`, indices (k,); buffers stay."""
        parameters = dict(network.named_parameters())
        for name in self.rows:
            parameters[name][gone] = 0
        places = (gone[:, None] * self.span + torch.arange(self.span)).flatten()
        parameters[self.reader][:, places] = 0


def channels_of(network: nn.Module, x: Tensor) -> tuple[Channels, ...]:
    """All channels that one layer alone reads, of a network in eval mode; x are some images (n, C, H, W).

    Raises UserError for a network that cannot be traced.
    """
    parameters = dict(network.named_parameters())

    def answers(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(network, parameters, (x,))

    try:
        with torch.no_grad():
            graph = make_fx(answers, pre_dispatch=True)(parameters, x).graph
    except Exception as error:  # whatever somebody's forward does to a tensor that is traced
        raise UserError(
            f"{type(network).__name__} cannot be traced ({named_error(error)}): expected --how magnitude or random"
        ) from error
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    names = dict(zip(inputs, parameters, strict=False))  # the last input is the images
    found = (_read_by(node, names) for node in graph.nodes if _is_dense(node))
    return tuple(channels for channels in found if channels is not None)


def _read_by(reader: Node, names: dict[Node, str]) -> Channels | None:
    """The channels that a layer reads, where no other does, back to the layer that makes them."""
    rows: list[str] = []
    norms: list[str] = []
    flat: Node | None = None
    for node in _before(reader):
        if _is_dense(node):
            rows += _parameters(node, names)
            count = _shape(node)[1]
            span, rest = divmod(_shape(node_in(reader))[1], count)
            fit = all(_shape(part)[0] == count for part, name in names.items() if name in rows)
            if rest or not fit or (span > 1 and flat is None) or not _all_known(reader, node, names):
                return None
            return Channels(
                reader=names[_argument(reader, 1)],
                span=span,
                count=count,
                rows=tuple(rows),
                norm_before=norms[0] if norms else None,
                norm_behind=_norm_behind(reader, names),
            )
        rows += _parameters(node, names)
        norms += _parameters(node, names)[:1] if _kind(node) == "batch_norm" else []
        flat = node if _kind(node) in FLATTENING else flat
    return None


def _before(reader: Node) -> Iterator[Node]:
    """What was done to the channels, from the reader back to the layer that made them; ends where others read them, too."""
    node = node_in(reader)
    while len(node.users) == 1 and (_is_dense(node) or _keeps_channels(node)):
        yield node
        if _is_dense(node):
            return
        node = node_in(node)


def node_in(node: Node) -> Node:
    """The operation whose result this one is given."""
    return _argument(node, 0)


def _argument(node: Node, place: int) -> Node:
    found = node.args[place]
    assert isinstance(found, Node)
    return found


def _kind(node: Node) -> str:
    """conv2d, relu, ...; empty for what is no operation."""
    packet = getattr(node.target, "overloadpacket", node.target)
    return str(getattr(packet, "__name__", "")) if node.op == "call_function" else ""


def _shape(node: Node) -> tuple[int, ...]:
    return tuple(node.meta["tensor_meta"].shape)


def _groups(node: Node) -> int:
    return int(node.args[6]) if len(node.args) > 6 else 1  # type: ignore[arg-type]


def _is_dense(node: Node) -> bool:
    """Whether every output reads every channel: a convolution of one group, a linear layer of vectors."""
    if _kind(node) == "linear":
        return len(_shape(node)) == 2
    return _kind(node) == "conv2d" and _groups(node) == 1


def _keeps_channels(node: Node) -> bool:
    kind = _kind(node)
    if kind == "conv2d":
        return _groups(node) == _shape(node)[1] == _shape(node_in(node))[1]
    if kind == "mean":
        dims: Any = node.args[1] if len(node.args) > 1 else []
        return len(_shape(node_in(node))) == 4 and sorted(dim % 4 for dim in dims) == [2, 3]
    if kind in FLATTENING:
        batch, *rest = _shape(node_in(node))
        return _shape(node) == (batch, torch.Size(rest).numel())
    return kind.removesuffix("_") in ELEMENTWISE | POOLING | {"batch_norm"}  # relu_ is in place


def _parameters(node: Node, names: dict[Node, str]) -> list[str]:
    """Those that an operation is given, by name: weight, then bias."""
    return [names[part] for part in node.args[1:] if isinstance(part, Node) and part in names]


def _all_known(reader: Node, maker: Node, names: dict[Node, str]) -> bool:
    """Whether both weights are parameters that nothing else uses; one that is computed, or shared, must not be cut."""
    weights = [_argument(node, 1) for node in (reader, maker)]
    return all(weight in names and len(weight.users) == 1 for weight in weights)


def _norm_behind(reader: Node, names: dict[Node, str]) -> str | None:
    behind = [node for node in reader.users if _kind(node) == "batch_norm"]
    found = [name for node in behind for name in _parameters(node, names)[:1]]
    return found[0] if len(reader.users) == 1 and found else None
