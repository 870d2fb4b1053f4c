"""Cut out the channels that no weight reads: a network that is really smaller, with the same answers."""

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ard.artifacts.card import Card
from ard.artifacts.class_paths import is_ours
from ard.core.errors import UserError
from ard.models.narrowed import Narrowed
from ard.pruning.channels import Channels, channels_of

NARROWED = "ard.models.Narrowed"


class Smaller(NamedTuple):
    """The tensors of a smaller network, the card that describes it, how many parameters it has and how many are not zero."""

    state: dict[str, Tensor]
    card: Card
    parameters: int
    nonzero: int


def cut_out(network: nn.Module, card: Card, x: Tensor) -> Smaller:
    """The smaller network that gives the same answers; x are some images (n, C, H, W).

    A channel goes where its reader's weights for it are all zero; each layer keeps one. Raises UserError for a network that
    a card cannot describe, and where there is no such channel.
    """
    if card.network is None or not is_ours(card.network):
        raise UserError("--smaller: the card of a smaller network must describe it; expected a network of ard.models")
    inner = network.network if isinstance(network, Narrowed) else network
    state = {name: value.detach().clone() for name, value in inner.state_dict().items()}
    sizes: dict[str, list[int]] = {}
    for channels in channels_of(inner, x):
        for name, places, dim in _cuts(inner, channels):
            state[name] = state[name].index_select(dim, places)
            layer, _, part = name.rpartition(".")
            if part == "weight":
                sizes[layer] = list(state[name].shape[:2])
    if not sizes:
        raise UserError("--smaller: no channel is zero that one layer alone reads; expected --how fanout or dpp first")
    parameters = [state[name] for name, _ in inner.named_parameters()]
    left = sum(int(part.count_nonzero()) for part in parameters)  # biases and BatchNorm of a zero channel need not be zero
    return Smaller(state, _described(card, sizes, left), sum(part.numel() for part in parameters), left)


def _cuts(network: nn.Module, channels: Channels) -> list[tuple[str, Tensor, int]]:
    """What is left of which tensor along which dimension; nothing where every channel is read."""
    columns = channels.columns(network.get_parameter(channels.reader).detach())
    alive = (columns != 0).any(dim=2).any(dim=0)
    if alive.all():
        return []
    stay = alive.nonzero().flatten() if alive.any() else torch.tensor([0])
    spans = (stay[:, None] * channels.span + torch.arange(channels.span)).flatten()
    layers = dict.fromkeys(name.rpartition(".")[0] for name in channels.rows)
    statistics = [
        f"{layer}.{part}" for layer in layers for part, value in network.get_submodule(layer).named_buffers() if value.ndim
    ]
    return [*((name, stay, 0) for name in (*channels.rows, *statistics)), (channels.reader, spans, 1)]


def _described(card: Card, sizes: dict[str, list[int]], nonzero: int) -> Card:
    """Of a network that was cut before the same one, with the new sizes on top."""
    arguments: dict[str, Any] = {"network": card.network, "sizes": {}}
    if card.class_path == NARROWED and card.init_args is not None:
        arguments = card.init_args
    pruned = replace(card.pruned, nonzero=nonzero) if card.pruned else None
    init_args = {**arguments, "sizes": {**arguments["sizes"], **sizes}}
    return replace(card, class_path=NARROWED, init_args=init_args, pruned=pruned)
