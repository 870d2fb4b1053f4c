"""CallRecorder: what the network answered while it was attacked and the gradients that it gave, held against a copy of it.

A network may tell an attack from a judgement by whatever it likes: the grad mode, the batch, how often it was called. It
cannot tell an attack from an attack. So a few answers of the attacks themselves are kept and asked for again.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ard.evaluation.cascade import evaluation_mode

ROWS = 4  # images of a call; of the calls of one attack the 1st, 2nd, 4th, 8th … are kept
AT_ONCE = 90  # images a batch when they are asked for again: no more than the attacks had memory for
FARTHEST = 2.0  # two vectors of norm 1


@dataclass(frozen=True)
class RecordedCall:
    """Images and logits; where a gradient was taken, also ∂loss/∂logits and gradient = ∂loss/∂x, row by row."""

    x: Tensor
    logits: Tensor
    logits_gradient: Tensor | None = None
    gradient: Tensor | None = None


class CallRecorder:
    """Keeps rows of what passes through a network, for as long as `watching` lasts."""

    def __init__(self) -> None:
        self._seen: list[dict[str, Tensor]] = []
        self.calls, self.gradients = 0, True

    @property
    def seen(self) -> list[RecordedCall]:
        return [RecordedCall(**one) for one in self._seen]

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Note every call whose number is a power of two, counted from the last `restart`."""
        with model.register_forward_hook(self._note):
            yield

    def restart(self, *, gradients: bool) -> None:
        """The next attack begins; `gradients`: its loss depends on the pixels through the logits alone."""
        self.calls, self.gradients = 0, gradients

    def _note(self, _: nn.Module, inputs: tuple[Any, ...], logits: Any) -> None:
        self.calls += 1
        if self.calls & (self.calls - 1) or not isinstance(logits, Tensor) or len(logits) != len(inputs[0]):
            return
        x = inputs[0]
        rows = (torch.arange(min(ROWS, len(x)), device=x.device) * max(1, len(x) // ROWS) + self.calls) % len(x)
        seen = {"x": x.detach()[rows].clone(), "logits": logits.detach()[rows].clone()}
        self._seen.append(seen)
        if self.gradients and x.requires_grad and logits.requires_grad:
            logits.register_hook(_keeping(seen, "logits_gradient", rows))
            x.register_hook(_keeping(seen, "gradient", rows))


class Copies:
    """Copies of a network as it was before its first call; the network itself where it cannot be copied."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        try:
            self.model, self.possible = copy.deepcopy(model), True
            self.fresh()
        except Exception:
            self.model, self.possible = model, False

    def fresh(self) -> nn.Module:
        """A network that was never called, in eval mode."""
        return copy.deepcopy(self.model).eval() if self.possible else self.model

    def in_float64(self, x: Tensor, logits: Tensor) -> nn.Module | None:
        """A copy in float64 that gives the images these logits; None where there is none."""
        if not self.possible:
            return None
        try:
            model = self.fresh().double()
            with evaluation_mode(model):
                answers = answers_of(model, x.double())
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, TypeError, ValueError):
            return None
        return model if answers.dtype == torch.float64 and distance(answers, logits) < 1e-3 else None


def in_parts(x: Tensor) -> tuple[Tensor, ...]:
    """Batches of what is asked for again."""
    return x.split(AT_ONCE)


def answers_of(model: nn.Module, x: Tensor) -> Tensor:
    """The logits of many images, without a graph."""
    with torch.no_grad():
        return torch.cat([model(part) for part in in_parts(x)])


def distance(a: Tensor, b: Tensor) -> float:
    """The largest L2 distance between two answers to one image, of mean 0 and norm 1; FARTHEST where one is no number."""
    apart = (_unit(a) - _unit(b)).norm(dim=1)
    alike = ((a == b) | (a.isnan() & b.isnan())).flatten(1).all(dim=1)  # an infinite logit has no direction
    return float(torch.where(alike, 0.0, apart).nan_to_num(nan=FARTHEST).max())


def _unit(logits: Tensor) -> Tensor:
    """A constant on top hides no difference: but a hundredth of it counts, where rounding is all that is left."""
    logits = logits.detach().flatten(1).double()
    around = logits - logits.mean(dim=1, keepdim=True)
    return around / around.norm(dim=1, keepdim=True).maximum(0.01 * logits.norm(dim=1, keepdim=True)).clamp_min(1e-300)


def replayed(copies: Copies, seen: list[RecordedCall]) -> float:
    """How far an untouched copy's answers are from those that were seen."""
    if not seen:
        return 0.0
    x, logits = torch.cat([one.x for one in seen]), torch.cat([one.logits for one in seen])
    model = copies.fresh()
    with evaluation_mode(model):
        return distance(logits, answers_of(model, x))


def called(model: nn.Module, x: Tensor, loss: Callable[[Tensor], Tensor]) -> RecordedCall:
    """What a network answers, and the gradient that it gives, for a loss of its logits (n, C) -> (n,)."""
    with torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        logits = model(x)
        logits_gradient, gradient = torch.autograd.grad(loss(logits).sum(), (logits, x))
    return RecordedCall(x.detach(), logits.detach(), logits_gradient, gradient)


def called_with(model: nn.Module, x: Tensor, logits_gradient: Tensor) -> RecordedCall:
    """The same, for a loss with this gradient in the logits."""
    parts = [
        called(model, part, lambda logits, logits_gradient=mine: (logits_gradient * logits).sum(dim=1))  # type: ignore[misc]
        for part, mine in zip(x.split(AT_ONCE), logits_gradient.split(AT_ONCE), strict=True)
    ]
    return joined(parts)


def joined(seen: list[RecordedCall]) -> RecordedCall:
    """The rows of several, all of which have a gradient."""
    names = ("x", "logits", "logits_gradient", "gradient")
    return RecordedCall(*(torch.cat([getattr(one, name) for one in seen]) for name in names))


def _keeping(seen: dict[str, Tensor], name: str, rows: Tensor) -> Callable[[Tensor], None]:
    def keep(value: Tensor) -> None:
        seen.setdefault(name, value.detach()[rows].clone())

    return keep
