"""Adversarial weight perturbation: take the training loss at weights that are attacked, too; for any objective."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ard.core.errors import UserError
from ard.core.ranges import one_of

Restore = Literal["before_step", "after_step"]


@dataclass(frozen=True, kw_only=True)
class AWP:
    """Wu et al., NeurIPS 2020, arXiv:2004.05884: θ ← θ − lr ∇L(θ + v), v_l = γ ‖θ_l‖ g_l / ‖g_l‖, g = ∇L(θ), L the
    training loss at the attacked images.

    l runs over weights of two dimensions and more; biases and BatchNorm stay. The released code takes g from one SGD step of
    a proxy network, which is the same direction.

    Args:
        gamma: γ, how far each layer moves, in units of its norm.
        start: The share of training that goes before.
        restore: When the weights come back: before the optimiser's step, which then decays θ; or after it, as in the
            released code, whose step is from θ + v: weight decay is of θ + v, and g is then of all processes together.

    Raises:
        UserError: For a negative γ, a share of training beyond 0 to 1, and another moment than these two.
    """

    gamma: float = 0.005
    start: float = 0.0
    restore: Restore = "before_step"

    def __post_init__(self) -> None:
        if self.gamma < 0:
            raise UserError(f"gamma = {self.gamma}: expected at least 0, in units of each layer's norm")
        if not 0 <= self.start <= 1:
            raise UserError(f"start = {self.start}: expected a share of training, from 0 to 1")
        one_of(Restore, restore=self.restore)

    def __call__(
        self, network: nn.Module, loss: Callable[[], Tensor], beside: nn.Module | None = None
    ) -> Callable[[], None]:
        """Move the network's weights up the loss; calling the result takes the move back and keeps what came since.

        Where nothing came since, these are the very same bits as before. `beside` holds networks that learn at the same
        time, such as an objective's own: their BatchNorm does not see the pass that finds the way up either.
        """
        weights = [weight for weight in network.parameters() if weight.ndim > 1 and weight.requires_grad]
        before = [weight.detach().clone() for weight in weights]
        gradients = _gradients(network, loss, weights, beside)
        if self.restore == "after_step":
            _average(gradients)  # else each process would decay other weights, and they would drift apart
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                size = self.gamma * weight.norm() / gradient.norm().clamp_min(torch.finfo(gradient.dtype).tiny)
                move = size * gradient
                weight.add_(torch.where(move.isfinite(), move, 0))  # an overflow is no move
        torch.clear_autocast_cache()  # a cast that it remembers is of the weights before
        moved = [weight.detach().clone() for weight in weights] if self.restore == "after_step" else None

        @torch.no_grad()
        def restore() -> None:
            for place, (weight, old) in enumerate(zip(weights, before, strict=True)):
                weight.copy_(old if moved is None else _taken_back(weight, moved[place], old))
            torch.clear_autocast_cache()

        return restore


def _gradients(
    network: nn.Module, loss: Callable[[], Tensor], weights: Sequence[Tensor], beside: nn.Module | None
) -> tuple[Tensor, ...]:
    """Of the loss, without a trace: BatchNorm statistics and random state come back."""
    buffers = [*network.buffers(), *_moving_statistics(beside)]
    statistics = [buffer.clone() for buffer in buffers]
    with torch.random.fork_rng({weight.device for weight in weights if weight.is_cuda}):
        # A weight that has no part in the answer, as of heads that are left out, stays where it is.
        gradients = torch.autograd.grad(loss(), weights, allow_unused=True, materialize_grads=True)
    for buffer, old in zip(buffers, statistics, strict=True):
        buffer.copy_(old)
    return gradients


def _moving_statistics(beside: nn.Module | None) -> list[Tensor]:
    """Those of BatchNorm layers that learn."""
    layers = [] if beside is None else [part for part in beside.modules() if isinstance(part, _BatchNorm) and part.training]
    return [buffer for layer in layers for buffer in layer.buffers(recurse=False)]


def _taken_back(weight: Tensor, moved: Tensor, before: Tensor) -> Tensor:
    """What came since is added to where the weight was before; where the move led nowhere, nothing is."""
    return torch.where(moved.isfinite(), before + (weight - moved), before)


def _average(gradients: Sequence[Tensor]) -> None:
    """Over the processes of a run, in place."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        for gradient in gradients:
            torch.distributed.all_reduce(gradient)
            gradient.div_(torch.distributed.get_world_size())
