"""Whole channels go: those that the next layer hardly reads, with a teacher also those that are like none of its nodes."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ard.core.errors import UserError
from ard.pruning.activations import averaged, inputs_of
from ard.pruning.channels import Channels
from ard.pruning.prunable import Left, Prunable, is_layer
from ard.pruning.structure import Structure


def fanout(of: Prunable) -> Left:
    """Remove the channels of the lowest fan-out, relative to the largest of their layer (Tian, arXiv:1909.13458).

    Fan-out: the norm of the weights that read a channel, BatchNorm folded, see `fan_out`. With a teacher it is multiplied by
    the channel's best match: the highest correlation, 0 where that is negative, with any node of the teacher, both averaged
    over places of the images. The paper's rule, fan-out below 0.001 and best match below 0.3, is the low end of this order.
    """
    channels = of.channels
    if not channels:
        raise UserError(
            f"{type(of.network).__name__} has no channels that one layer alone reads: expected another --how, as magnitude"
        )
    scores = [fan_out(of.network, one) for one in channels]
    scores = [score / score.max().clamp_min(torch.finfo(score.dtype).tiny) for score in scores]
    if of.teacher is not None:
        scores = [a * b for a, b in zip(scores, _best_matches(of, of.teacher), strict=True)]
    return Structure(of, channels).remove_lowest(scores)


def fan_out(network: nn.Module, channels: Channels) -> Tensor:
    """By channel, (count,): ‖columns of the reader‖ × √(γ² + β²), each row of the reader times γ/σ of the BatchNorm behind.

    γ and β are of the BatchNorm before: γ² + β² is the mean square of what it returns. So the number does not change where a
    channel is scaled up and its columns down.
    """
    weight = channels.columns(network.get_parameter(channels.reader).detach())
    if channels.norm_behind is not None:
        gamma, _, variance, eps = _norm(network, channels.norm_behind)
        weight = weight * (gamma / (variance + eps).sqrt())[:, None, None]
    size = weight.norm(dim=(0, 2))
    if channels.norm_before is not None:
        gamma, beta, *_ = _norm(network, channels.norm_before)
        size = size * (gamma**2 + beta**2).sqrt()
    return size


def _norm(network: nn.Module, weight: str) -> tuple[Tensor, Tensor, Tensor, float]:
    """γ, β, the running variance, 1 where none is kept, and epsilon of the BatchNorm that has this weight."""
    norm = network.get_submodule(weight.rpartition(".")[0])
    assert isinstance(norm, _BatchNorm)
    variance = torch.ones_like(norm.weight) if norm.running_var is None else norm.running_var
    return norm.weight.detach(), norm.bias.detach(), variance, norm.eps


def _best_matches(of: Prunable, teacher: nn.Module) -> list[Tensor]:
    """For each channel the highest correlation with a node of the teacher, at least 0."""
    x = of.images()
    nodes = [name for name, part in teacher.named_modules() if is_layer(part)][1:]  # the first reads the image
    known = _standardised(torch.cat(list(inputs_of(teacher, nodes, x, averaged).values()), dim=1))
    read = inputs_of(of.network, [one.layer for one in of.channels], x, averaged)
    matches = []
    for one in of.channels:
        ours = _standardised(read[one.layer].unflatten(1, (one.count, one.span)).mean(dim=2))
        matches.append((ours.T @ known / len(x)).amax(dim=1).clamp_min(0))
    return matches


def _standardised(values: Tensor) -> Tensor:
    """Columns of mean 0 and variance 1; 0 where a column is constant."""
    values = values.double() - values.double().mean(dim=0)
    spread = values.square().mean(dim=0).sqrt()
    return values / spread.where(spread > 0, torch.inf)
