"""The training step, free of any trainer: training, the benchmark, plain loops and tests all call it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ard.attacks import attacking
from ard.attacks.attacking import AttackMode
from ard.losses import AttackLoss, Loss
from ard.objectives.base import Objective, Step, TrainingLoss
from ard.objectives.returned import total_loss
from ard.training.recording import without_cached_casts
from ard.training.weight_perturbation import AWP

CleanPass = Literal["before_loss", "after_loss", "after_step"]
Search = Callable[[Loss, Tensor, torch.Generator], Tensor]  # what an Attack is: loss, x, generator -> x'


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What a step gives, up to its backward pass.

    Attributes:
        terms: The terms of the training loss; the sum of the scalars is to be minimised.
        x_adv: The attacked images; the images themselves where the method has no attack.
        answers: What the student said to the attacked images in train mode, before any weight was moved, detached; None
            where nothing was attacked or the training loss asks about other images.
        undo: Puts moved weights back, nothing without a weight perturbation: to be called after the backward pass, or after
            the optimiser's step where AWP.restore says so.
    """

    terms: dict[str, Tensor]
    x_adv: Tensor
    answers: Tensor | None
    undo: Callable[[], None]

    @property
    def loss(self) -> Tensor:
        return total_loss(self.terms)


class Attacked(NamedTuple):
    """What an objective asks of one batch, and the images that its attack found; without an attack the images themselves."""

    attack_loss: Loss | None
    training_loss: TrainingLoss
    x_adv: Tensor


class Learned(NamedTuple):
    """The terms of the training loss; and what the student said to the attacked images, where no hook could hear it."""

    terms: dict[str, Tensor]
    answers: list[Tensor]


def attack_batch(
    student: nn.Module,
    teacher: Any,
    objective: Objective,
    attack: Search,
    x: Tensor,
    y: Tensor,
    step: Step,
    generator: torch.Generator,
    mode: AttackMode = "eval",
) -> Attacked:
    """The attack of one training step, with all that prepares it; arguments as of take."""
    objective.begin(step)
    with attacking(student, objective, mode=mode):
        attack_loss, training_loss = objective(student, teacher, x, y)
        x_adv = x if attack_loss is None else attack(attack_loss, x, generator)
    return Attacked(attack_loss, training_loss, x_adv)


def as_it_is(loss: Tensor) -> Tensor:
    """The loss, where nothing has to scale it."""
    return loss


def learn(student: nn.Module, objective: Objective, attacked: Attacked, step: Step) -> Learned:  # noqa: ARG001
    """The training loss of one step; arguments as of take."""
    return Learned(attacked.training_loss(attacked.x_adv), [])


def take(
    student: nn.Module,
    teacher: Any,
    objective: Objective,
    attack: Search,
    x: Tensor,
    y: Tensor,
    step: Step,
    *,
    generator: torch.Generator,
    mode: AttackMode = "eval",
    clean_pass: CleanPass | None = None,
    weight_perturbation: AWP | None = None,
    scaled: Callable[[Tensor], Tensor] = as_it_is,
    watch: AbstractContextManager[Any] | None = None,
    attack_batch: Callable[..., Attacked] = attack_batch,
    learn: Callable[..., Learned] = learn,
) -> Taken:
    """One training step: the attack maximises the attack loss; the training loss is computed on the attacked images.

    Args:
        student: The network that is trained, in train mode.
        teacher: Images -> logits; None for methods that need no teacher.
        objective: The method, whose two losses these are.
        attack: Maximises the first of them around the images.
        x: Images in [0, 1], shape (batch, channels, height, width), augmented.
        y: Labels, see Objective.
        step: What the objective may know of this step.
        generator: Of the attack's random start.
        mode: The student's mode while it is attacked.
        clean_pass: When BatchNorm sees the clean images once more: after the attack, and before or after the forward passes
            of the training loss. A pass after the optimiser's step is the caller's: see show_clean.
        weight_perturbation: Moves the student's weights before the training loss, once its share of training is over.
        scaled: What multiplies the loss that it asks for the way up, as gradients in float16 need it to be more than 0.
        watch: Entered around the attack and all that prepares it.
        attack_batch: Does all that; training.captured.Graphs does it faster on CUDA.
        learn: Computes the training loss; Graphs.learn does it faster on CUDA.
    """
    with watch or nullcontext():
        attacked = attack_batch(student, teacher, objective, attack, x, y, step, generator, mode)
    x_adv, undo = attacked.x_adv, _nothing
    if clean_pass == "before_loss":
        show_clean(student, x)
    with listening(student, x_adv) as answers, ExitStack() as on_error:
        if weight_perturbation is not None and step.progress >= weight_perturbation.start:
            undo = weight_perturbation(student, lambda: scaled(total_loss(attacked.training_loss(x_adv))), objective)
            on_error.callback(undo)
        learned = learn(student, objective, attacked, step)
        if clean_pass == "after_loss":
            show_clean(student, x)
        on_error.pop_all()  # from here on it is the caller's
    heard = next(iter([*answers, *learned.answers]), None)
    one_each = attacked.attack_loss is not None and len(x_adv) == len(x)  # a loss may have several points an image
    return Taken(terms=learned.terms, x_adv=x_adv, answers=heard if one_each else None, undo=undo)


@torch.no_grad()
def show_clean(student: nn.Module, x: Tensor) -> None:
    """A forward pass that only BatchNorm sees: its statistics move, the random state comes back."""
    with torch.random.fork_rng({x.device} if x.is_cuda else {}), without_cached_casts():
        student(x)


def unattacked(loss: Loss, x: Tensor, generator: torch.Generator) -> Tensor:  # noqa: ARG001
    """A search in a ball of radius 0: every point is its centre."""
    return AttackLoss.centre_of(loss, x)


@contextmanager
def listening(student: nn.Module, x_adv: Tensor) -> Iterator[list[Tensor]]:
    """What the student answers to this very tensor inside the block, and to no other: no pass of its own, no waiting."""
    answers: list[Tensor] = []

    def listen(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if inputs and inputs[0] is x_adv:
            answers.append(output.detach())

    with student.register_forward_hook(listen):
        yield answers


def accuracy(logits: Tensor, y: Tensor) -> Tensor:
    """The share of images that are classified correctly, on their device: of those that have a class, NaN where none has.

    Where y are shares of classes, shape (batch, C), the largest counts, if it is larger than the share without a label.
    """
    if y.ndim == 1:
        classes, known = y, y >= 0
    else:
        largest, classes = y.max(dim=1)
        known = largest > 1 - y.sum(dim=1)
    return ((logits.argmax(dim=1) == classes) & known).sum() / known.sum()


def _nothing() -> None:
    pass
