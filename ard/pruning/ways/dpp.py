"""Channels that are unlike each other stay: a determinantal point process over what 1×1 and linear layers read."""

import torch
from torch import Tensor, nn

from ard.core.errors import UserError
from ard.pruning.activations import inputs_of, sampled
from ard.pruning.channels import Channels
from ard.pruning.prunable import Left, Prunable
from ard.pruning.structure import Structure

JITTER = 0.01


def dpp(of: Prunable) -> Left:
    """Keep diverse channels, and let them stand for those that go (Mariet and Sra, arXiv:1511.05077).

    Of every 1×1 convolution and linear layer that alone reads its channels: a_i are the activations of channel i on images
    of training, L_ij = exp(−β ‖a_i − a_j‖²) + 0.01 [i = j], β = 1 / the median of ‖a_i − a_j‖². The channels that stay are
    chosen greedily for the largest determinant of L, the same share in every layer, and the layer's weights for them are
    those that least squares gives to return what it returned before. Nothing is sampled from the process: equal images
    choose equal channels.
    """
    channels = [one for one in of.channels if one.span == 1 and _is_pointwise(of.network, one)]
    if not channels:
        raise UserError(
            f"{type(of.network).__name__} has no 1×1 convolution or linear layer that alone reads the channels of another: "
            "expected another --how, such as fanout"
        )
    structure, x = Structure(of, channels), of.images()
    stay = structure.even()
    read = inputs_of(of.network, [one.layer for one in channels], x, sampled(len(x), of.seed))
    for one, count in zip(channels, stay, strict=True):
        activations = read[one.layer].double()
        chosen = diverse(kernel(activations), count)
        gone = torch.tensor([c for c in range(one.count) if c not in set(chosen.tolist())], dtype=torch.long)
        _reweight(of.network.get_parameter(one.reader), activations, chosen, gone)
        one.remove(of.network, gone)
    return structure.said(stay)


def kernel(activations: Tensor) -> Tensor:
    """L (N, N) of activations (n, N), float64; where all channels are the same, the median is taken as 1."""
    square = torch.cdist(activations.T, activations.T, compute_mode="donot_use_mm_for_euclid_dist").square()
    different = square[square > 0]
    beta = 1 / different.median() if len(different) else 1.0
    return torch.exp(-beta * square) + JITTER * torch.eye(len(square), dtype=square.dtype)


def diverse(likeness: Tensor, count: int) -> Tensor:
    """The indices (count,), ascending, that greedily make the determinant of L (N, N) largest (Chen et al., 1709.05135)."""
    gain, factor = likeness.diagonal().clone(), likeness.new_zeros(count, len(likeness))
    chosen: list[int] = []
    for step in range(count):
        best = int(gain.argmax())
        factor[step] = (likeness[best] - factor[:step, best] @ factor[:step]) / gain[best].sqrt()
        gain -= factor[step].square()
        gain[best] = -torch.inf
        chosen.append(best)
    return torch.tensor(sorted(chosen))


@torch.no_grad()
def _reweight(weight: nn.Parameter, activations: Tensor, chosen: Tensor, gone: Tensor) -> None:
    """Columns of what stays, changed so that the layer answers as nearly as possible as it did with all its channels."""
    if not len(gone):
        return
    parts = torch.linalg.lstsq(activations[:, chosen], activations[:, gone], driver="gelsd").solution  # (kept, gone)
    columns = weight.flatten(1).double()
    columns[:, chosen] += columns[:, gone] @ parts.T
    weight.copy_(columns.view_as(weight))


def _is_pointwise(network: nn.Module, channels: Channels) -> bool:
    return network.get_parameter(channels.reader).shape[2:].numel() == 1
