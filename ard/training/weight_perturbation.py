"""Adversarial weight perturbation: take the training loss at weights that are attacked, too; for any objective."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ard.core.errors import UserError


@dataclass(frozen=True, kw_only=True)
class AWP:
    """Wu et al., NeurIPS 2020, arXiv:2004.05884: θ ← θ − lr ∇L(θ + v), v_l = γ ‖θ_l‖ g_l / ‖g_l‖, g = ∇L(θ), L the
    training loss at the attacked images.

    l runs over weights of two dimensions and more; biases and BatchNorm stay. The released code takes g from one SGD step of
    a proxy network, which is the same direction. Raises UserError for a negative γ, and
    for a share beyond 0 to 1.

    Args:
        gamma: γ, how far each layer moves, in units of its norm.
        start: The share of training that goes before.
    """

    gamma: float = 0.005
    start: float = 0.0

    def __post_init__(self) -> None:
        if self.gamma < 0:
            raise UserError(f"gamma = {self.gamma}: expected at least 0, in units of each layer's norm")
        if not 0 <= self.start <= 1:
            raise UserError(f"start = {self.start}: expected a share of training, from 0 to 1")

    def __call__(self, network: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
        """Move the network's weights up the loss; calling the result puts back the very same bits."""
        weights = [weight for weight in network.parameters() if weight.ndim > 1 and weight.requires_grad]
        home = [weight.detach().clone() for weight in weights]
        gradients = _gradients(network, loss, weights)
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                size = self.gamma * weight.norm() / gradient.norm().clamp_min(torch.finfo(gradient.dtype).tiny)
                weight.add_(size * gradient)
        torch.clear_autocast_cache()  # a cast that it remembers is of the weights before

        @torch.no_grad()
        def restore() -> None:
            for weight, old in zip(weights, home, strict=True):
                weight.copy_(old)
            torch.clear_autocast_cache()

        return restore


def _gradients(network: nn.Module, loss: Callable[[], Tensor], weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Of the loss, without a trace: BatchNorm statistics and random state come back."""
    statistics = [buffer.clone() for buffer in network.buffers()]
    with torch.random.fork_rng({weight.device for weight in weights if weight.is_cuda}):
        gradients = torch.autograd.grad(loss(), weights)
    for buffer, old in zip(network.buffers(), statistics, strict=True):
        buffer.copy_(old)
    return gradients
