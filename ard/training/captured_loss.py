"""A training loss and its gradients as one CUDA graph."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ard.objectives.base import Objective
from ard.objectives.returned import total_loss
from ard.training.recording import Recorder, without_cached_casts
from ard.training.step import Attacked, Learned, listening


class CapturedLoss:
    """A training loss and its gradients at fixed addresses: called after its attack was replayed, it replays."""

    def __init__(self, record: Recorder, student: nn.Module, objective: Objective, attacked: Attacked) -> None:
        self.parameters = [p for root in (student, objective) for p in root.parameters() if p.requires_grad]

        def run() -> tuple[Learned, tuple[Tensor | None, ...]]:
            with _new_leaves(student, objective) as leaves, listening(student, attacked.x_adv) as answers:
                terms = attacked.training_loss(attacked.x_adv)
                gradients = _gradients(total_loss(terms), [leaves[p] for p in self.parameters], self.parameters)
            return Learned({name: term.detach() for name, term in terms.items()}, answers), gradients

        with without_cached_casts():
            (self.learned, self.gradients), self.replay = record(run)

    def __call__(self) -> Learned:
        self.replay()
        terms, answers = self.learned
        known = _Known.apply(self.gradients, tuple(terms.values()), *self.parameters)
        return Learned(dict(zip(terms, known, strict=True)), answers)


@contextmanager
def _new_leaves(*roots: nn.Module) -> Iterator[dict[nn.Parameter, nn.Parameter]]:
    """Parameters of the same memory in the place of those that learn, of whose gradients no other stream knows yet.

    Where a step before is still remembered, such as for its terms, autograd would wait for that step's stream, and a
    capture must not.
    """
    places = [(part, name, p) for root in roots for part in root.modules() for name, p in part._parameters.items()]
    learning = [(part, name, p) for part, name, p in places if p is not None and p.requires_grad]
    leaves = {p: nn.Parameter(p.detach()) for _, _, p in learning}
    try:
        for part, name, p in learning:
            part._parameters[name] = leaves[p]
        yield leaves
    finally:
        for part, name, p in learning:
            part._parameters[name] = p


def _gradients(loss: Tensor, leaves: list[nn.Parameter], originals: list[nn.Parameter]) -> tuple[Tensor | None, ...]:
    """In the leaves; raises RuntimeError where the loss reads an original, as from a list that holds it."""
    gradients = torch.autograd.grad(loss, [*leaves, *originals], allow_unused=True)
    if any(gradient is not None for gradient in gradients[len(leaves) :]):
        raise RuntimeError("a weight is read through something else than its own layer, such as a list")
    return gradients[: len(leaves)]


class _Known(torch.autograd.Function):
    """Terms whose sum has these gradients: the backward pass gives them, times what the sum's own gradient is."""

    @staticmethod
    def forward(ctx: Any, gradients: tuple[Tensor | None, ...], terms: tuple[Tensor, ...], *_: Tensor) -> tuple[Tensor, ...]:
        ctx.gradients, ctx.scalars = gradients, [term.ndim == 0 for term in terms]
        copies = tuple(term.clone() for term in terms)  # the next replay writes over them
        ctx.mark_non_differentiable(*(copy for copy in copies if copy.ndim))
        return copies

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        scale = upstream[ctx.scalars.index(True)]
        scaled = iter(torch._foreach_mul([gradient for gradient in ctx.gradients if gradient is not None], scale))
        return None, None, *(None if gradient is None else next(scaled) for gradient in ctx.gradients)
