"""The contract of a training objective: a pair of functions, what the attack climbs and what the optimiser descends."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ard import losses

Outer = Callable[[Tensor], dict[str, Tensor]]  # x' -> {term: scalar}; the sum is descended, vectors are only observed
Pair = tuple[losses.Loss | None, Outer]  # inner None: the method trains without an attack


class Objective(nn.Module, ABC):
    """objective(student, teacher, x, y) -> inner, outer; x (batch, channels, H, W) in [0, 1], y (batch,).

    `teacher` is None for methods that need none; `y` is −1 where an image has no label, which only methods that are not
    `needs_labels` get to see. Call the student inside `inner` and `outer` only; the body is where the teacher speaks, once
    a batch. `inner` is pure and of fixed shape; `outer` has no side effects. Buffers are saved with the run, parameters are
    optimised; a buffer that is empty at first gets its shape from `setup` or from a checkpoint; networks that only `setup`
    can make, from the teacher, are named in `awaits`. `epoch`, `progress` in [0, 1], `lr_factor` and `generator` are set
    before every batch. More teachers are `Frozen` arguments of the constructor.

    `inner` may be an AttackLoss, which says where to begin, around which image each point is searched, or what is allowed.
    """

    needs_teacher: bool = False
    needs_labels: bool = True
    awaits: tuple[str, ...] = ()
    label_smoothing: float = 0.0
    epoch: int = 0
    progress: float = 0.0
    lr_factor: float = 1.0
    generator: torch.Generator

    @abstractmethod
    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:
        """The pair for one batch."""

    def build(self, *, student: Callable[..., nn.Module], num_classes: int) -> None:
        """Make networks of the objective's own, before a checkpoint is read; `student` is called with num_classes."""

    def setup(
        self, *, teacher: nn.Module | None, num_classes: int, class_counts: Sequence[int], eps: float, max_epochs: int
    ) -> None:
        """Told once before training, and before a run that goes on reads its checkpoint."""

    def after_step(self, terms: dict[str, Tensor]) -> None:
        """Move state by what the step's terms were, detached: scalars averaged over all ranks, vectors summed."""

    def on_epoch_end(self) -> None:
        """Move state once an epoch."""

    def param_groups(self) -> list[dict[str, Any]]:
        """Optimiser groups for parameters of the objective's own, such as a peer network."""
        parameters = list(self.parameters())
        return [{"params": parameters}] if parameters else []

    def diagnostics(self) -> dict[str, Tensor]:
        """What is logged beside the terms but not descended."""
        return {}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        for name, buffer in self.named_buffers(recurse=False):
            if buffer.numel() == 0 and prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name], device=buffer.device))
        for key in [key for key in state_dict if key.startswith(self.awaited(prefix))]:
            del state_dict[key]
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def awaited(self, prefix: str) -> tuple[str, ...]:
        """How the names of the state begin of what `setup` has yet to make."""
        return tuple(f"{prefix}{name}." for name in self.awaits if getattr(self, name, None) is None)

    def hard_label(self, logits: Tensor, y: Tensor) -> Tensor:
        """Mean cross entropy with the run's label smoothing: the same switch for every method that has such a term."""
        return losses.cross_entropy(logits, y, self.label_smoothing).mean()


def total_loss(terms: dict[str, Tensor]) -> Tensor:
    """What the optimiser descends: the sum of the scalar terms."""
    return torch.stack([term for term in terms.values() if term.ndim == 0]).sum()


def attack_labels(student: nn.Module, y: Tensor) -> losses.Loss:
    """The inner loss of PGD-AT and ARD: cross entropy with the true label, never smoothed."""
    return lambda x_adv: losses.cross_entropy(student(x_adv), y)
