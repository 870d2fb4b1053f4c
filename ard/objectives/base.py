"""The contract of a training objective: a pair of losses, one for the attack to maximise and one for the optimiser."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor, nn

from ard import losses
from ard.core.errors import UserError
from ard.core.pixels import Labels
from ard.core.ranges import of_kind
from ard.models.building import passes_gradient, some_images
from ard.objectives.own_networks import going_on, own_networks
from ard.objectives.returned import two_losses
from ard.objectives.run_facts import RunFacts, Step

TrainingLoss = Callable[[Tensor], dict[str, Tensor]]  # x' -> {term: scalar, or a vector that is only observed}
Pair = tuple[losses.Loss | None, TrainingLoss]  # the attack loss, None where there is no attack; and the training loss


class Objective(nn.Module, ABC):
    """objective(student, teacher, x, y) -> attack loss, training loss.

    A new method is a subclass that writes `forward` and, where it has state, some of the hooks below: `build`, `prepare`,
    `setup`, `after_step`, `on_epoch_end`, `param_groups`, `diagnostics`. An objective inside another one gets everything
    that the outer one gets: whoever trains calls `begin` and the methods that end in `_all`, and never the hooks themselves.

    The student is called inside the two losses only: a call in the body of `forward` would lose its gradient. The body is
    where teachers are asked, once a batch. The attack loss is pure and of fixed shape; it may be a losses.AttackLoss, which
    says where to begin, around which image each point is searched, and what is allowed. The training loss has no side
    effects: the sum of its scalar terms is minimised, its vectors are only observed; state moves in the hooks. Where body
    and losses do not read `step`, CUDA replays them as graphs without running their Python again. Buffers are
    saved with the run, parameters are optimised. A buffer that is empty at first gets its shape from `setup` or from a
    checkpoint; networks that only `setup` can make, from the teacher, are listed in `awaits`. More teachers are `Frozen`
    arguments of the constructor. A part of the student or of a teacher is never an attribute.

    Attributes:
        needs_teacher: Whether the method wants a teacher; others are called with None in its place.
        labels: What the method does with y. "none": it needs no labels, and y may be −1 where an image has none. "soft": y
            may also be shares of classes, shape (batch, C). "class": it wants one class for each image.
        asks_only_x: Whether it asks its teacher about x itself and nothing else, once a batch: then an answer that is known
            beforehand can stand in for a teacher.
        needs_teacher_gradient: Whether it follows the gradient of the teacher's answers in the pixels.
        counts_epochs: Whether it asks how many epochs a run has: a loader without a length is refused, as it is for a method
            that has an `on_epoch_end`.
        follows_progress: Whether something of it moves with the share of training that is done, by `progress` or by epochs
            of all epochs. It would go back if a run that has ended were made longer, which is refused.
        awaits: Names of the networks that `setup` makes.
        step: The step of the current batch; `epoch`, `progress`, `lr_factor`, `label_smoothing` and `generator`
            are short for its fields.
    """

    needs_teacher: bool = False
    asks_only_x: bool = False
    needs_teacher_gradient: bool = False
    labels: Labels = "class"
    counts_epochs: bool = False
    follows_progress: bool = False
    awaits: tuple[str, ...] = ()
    step: Step = Step()

    @abstractmethod
    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:
        """The two losses of one batch.

        Args:
            student: The network that is trained.
            teacher: The network that is learned from, frozen; None for methods that need none.
            x: Images in [0, 1], shape (batch, channels, height, width).
            y: Classes, shape (batch,), or shares of classes, shape (batch, C); see `labels`.
        """

    def __call__(self, student: nn.Module, teacher: nn.Module | None, x: Tensor, y: Tensor) -> Pair:
        """`forward`; raises UserError where that returns something else than two losses."""
        try:
            pair = super().__call__(student, teacher, x, y)
        except TypeError as error:
            if teacher is None and not self.needs_teacher:
                error.add_note(f"{type(self).__name__} is given no teacher, since it does not say needs_teacher = True")
            raise
        return two_losses(pair, type(self).__name__)

    def build(self, *, student: Callable[..., nn.Module], num_classes: int) -> None:
        """Make networks of the objective's own, before a checkpoint is read; `student` is called with num_classes."""

    def prepare(self, run: RunFacts) -> None:
        """Change the student before training: whatever is around or inside this objective sees it changed in `setup`."""

    def setup(self, run: RunFacts) -> None:
        """Get ready before training, and before a run that goes on reads its checkpoint.

        In a second fit of one module buffers are put back afterwards as the first one left them.
        """

    def after_step(self, terms: dict[str, Tensor], student: nn.Module) -> None:
        """Move state after an optimiser step.

        Args:
            terms: The step's terms, detached: scalars averaged over all ranks, vectors summed.
            student: The student as it is now, in eval mode and without gradients: to be looked at, or its weights to be
                projected in place. The engine puts back frozen ones, and the zeros of a pruned start.
        """

    def on_epoch_end(self) -> None:
        """Move state once an epoch."""

    def param_groups(self) -> list[dict[str, Any]]:
        """Optimiser groups for parameters of the objective's own, such as a peer network."""
        parameters = self.own_parameters()
        return [{"params": parameters}] if parameters else []

    def diagnostics(self) -> dict[str, Tensor]:
        """Metrics that are logged beside the terms of the loss."""
        return {}

    @final
    def parts(self) -> "list[Objective]":
        """This objective and every one inside it."""
        return [part for part in self.modules() if isinstance(part, Objective)]

    @final
    def begin(self, step: Step) -> None:
        """Give the coming step to every part."""
        for part in self.parts():
            part.step = step

    @final
    def build_all(self, *, student: Callable[..., nn.Module], num_classes: int) -> None:
        """`build` of every part."""
        for part in self.parts():
            part.build(student=student, num_classes=num_classes)

    @final
    def setup_all(self, run: RunFacts) -> None:
        """`prepare`, then `setup` of all; raises UserError for a teacher without the gradient that one of them follows."""
        followers = [type(part).__name__ for part in self.parts() if part.needs_teacher_gradient]
        x = some_images(run.student, 1, run.image_shape)
        if followers and run.teacher is not None and not passes_gradient(run.teacher, x):
            raise UserError(
                f"{followers[0]} follows the gradient of its teacher, and this one has none: expected a network that is "
                "differentiable from pixels to logits, without no_grad or detach"
            )
        for part in self.parts():
            part.prepare(run)
        for part in self.parts():
            with own_networks(part, run.student, run.teacher), going_on(part, fitted_before=run.fitted_before):
                part.setup(run)

    @final
    @property
    def moves_after_step(self) -> bool:
        """Whether any part has an `after_step` of its own."""
        return any(type(part).after_step is not Objective.after_step for part in self.parts())

    @final
    @property
    def goes_by_epochs(self) -> bool:
        """Whether it asks how many epochs a run has, or when one ends."""
        return self.counts_epochs or type(self).on_epoch_end is not Objective.on_epoch_end

    @final
    def after_step_all(self, terms: dict[str, Tensor], student: nn.Module) -> None:
        """`after_step` of every part."""
        for part in self.parts():
            part.after_step(terms, student)

    @final
    def on_epoch_end_all(self) -> None:
        """`on_epoch_end` of every part."""
        for part in self.parts():
            part.on_epoch_end()

    @final
    def param_groups_all(self) -> list[dict[str, Any]]:
        """`param_groups` of every part."""
        return [group for part in self.parts() for group in part.param_groups()]

    @final
    def diagnostics_all(self) -> dict[str, Tensor]:
        """`diagnostics` of every part."""
        return {name: value for part in self.parts() for name, value in part.diagnostics().items()}

    @final
    def wanted_teacher(self, teacher: nn.Module | None) -> nn.Module | None:
        """The teacher that `forward` is called with: None where the method wants none, though a run may have one."""
        return teacher if self.needs_teacher else None

    @property
    def epoch(self) -> int:
        return self.step.epoch

    @property
    def progress(self) -> float:
        return self.step.progress

    @property
    def lr_factor(self) -> float:
        return self.step.lr_factor

    @property
    def label_smoothing(self) -> float:
        return self.step.label_smoothing

    @property
    def generator(self) -> torch.Generator | None:
        return self.step.generator

    def own_parameters(self) -> list[nn.Parameter]:
        """The parameters that take a gradient and belong to no objective inside this one."""
        others = {id(parameter) for part in self.parts()[1:] for parameter in part.parameters()}
        return [parameter for parameter in self.parameters() if parameter.requires_grad and id(parameter) not in others]

    def hard_label(self, logits: Tensor, y: Tensor) -> Tensor:
        """Mean cross entropy with the run's label smoothing: the same switch for every method that has such a term."""
        return losses.cross_entropy(logits, y, self.label_smoothing).mean()

    def awaited(self, prefix: str) -> tuple[str, ...]:
        """How the names of the state begin of what `setup` has yet to make."""
        return tuple(f"{prefix}{name}." for name in self.awaits if getattr(self, name, None) is None)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        for name, buffer in self.named_buffers(recurse=False):
            if buffer.numel() == 0 and prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name], device=buffer.device))
        for key in [key for key in state_dict if key.startswith(self.awaited(prefix))]:
            del state_dict[key]
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class Composed(Objective):
    """A method around another one: it writes `forward` and hooks of its own, and asks of a run what `base` asks.

    Args:
        base: The method inside.
    """

    def __init__(self, base: Objective) -> None:
        super().__init__()
        of_kind(Objective, "a method, such as RSLAD()", base=base)
        self.base = base
        self.needs_teacher, self.asks_only_x, self.labels = base.needs_teacher, base.asks_only_x, base.labels

    def needed(self, attack_loss: losses.Loss | None) -> losses.Loss:
        """The attack loss of `base`, for methods that work on what an attack finds; raises UserError where it has none."""
        if attack_loss is None:
            raise UserError(
                f"{type(self.base).__name__} attacks nothing, and {type(self).__name__} needs an attack: expected a base "
                "with one, such as PGDAT, ARD or RSLAD"
            )
        return attack_loss

    def with_own(self, terms: dict[str, Tensor], **own: Tensor) -> dict[str, Tensor]:
        """The terms of `base` and those of this method; raises UserError where one name stands for two."""
        if lost := terms.keys() & own:
            raise UserError(
                f'{type(self).__name__} adds a term "{min(lost)}", and {type(self.base).__name__} has one of that name: '
                "expected a base without it"
            )
        return terms | own
