"""The one place that prepares a network for being attacked, and puts everything back."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ard.attacks.folding import folded
from ard.core.modes import in_mode

AttackMode = Literal["eval", "train"]  # how BatchNorm and dropout of the student behave in an attack of training


@contextmanager
def frozen_mode(*roots: nn.Module, train: bool = False) -> Iterator[None]:
    """Every network in eval (or train) mode with frozen parameters; modes, parameters and random state come back."""
    trainable = [parameter for root in roots for parameter in root.parameters() if parameter.requires_grad]
    gpus = {p.device for root in roots for p in root.parameters() if p.is_cuda}
    with in_mode(*roots, train=train), torch.random.fork_rng(gpus):
        try:
            for parameter in trainable:
                parameter.requires_grad_(False)
            yield
        finally:
            for parameter in trainable:
                parameter.requires_grad_(True)


@contextmanager
def attacking(student: nn.Module, objective: nn.Module, *, mode: AttackMode = "eval") -> Iterator[None]:
    """For as long as the student is attacked: student and objective frozen, BatchNorms folded, lost gradients refused.

    Args:
        student: The network that is attacked. Its BatchNorms are folded into its convolutions in eval mode.
        objective: The method, whose own networks are frozen, too.
        mode: The mode of both. Modes, parameters and the random state come back afterwards.

    Raises:
        RuntimeError: When the student is called with grad mode on and an input that needs no gradient: the answer would
            have no graph, and a loss built on it would lose that gradient in silence while every parameter still gets one.
    """
    guarded = student.register_forward_pre_hook(_refuse_lost_gradient)
    frozen = frozen_mode(student, objective, train=mode == "train")
    with guarded, frozen, folded(student) if mode == "eval" else nullcontext():
        yield


def _refuse_lost_gradient(_: nn.Module, inputs: tuple[Any, ...]) -> None:
    needs_grad = any(isinstance(value, Tensor) and value.requires_grad for value in inputs)
    if torch.is_grad_enabled() and not needs_grad:
        raise RuntimeError(
            "the objective called the student outside its two losses, where its gradient is lost: "
            "move the call into the training loss, or under torch.no_grad() if it is a constant for the attack"
        )
