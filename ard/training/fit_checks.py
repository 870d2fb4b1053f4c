"""What a run refuses before its first step: methods, data and trainers that do not fit one another."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any
from weakref import WeakKeyDictionary, ref

import pytorch_lightning as pl
from pytorch_lightning.callbacks import GradientAccumulationScheduler, StochasticWeightAveraging, WeightAveraging
from pytorch_lightning.utilities import rank_zero_warn
from torch import Size, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from ard.core.errors import UserError
from ard.core.ranges import whole
from ard.objectives.base import Objective
from ard.training.run_length import UNENDING
from ard.training.schedule import Training

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")  # in which weights are float32, as validation reads them
_OWNERS: WeakKeyDictionary[Objective, "ref[nn.Module]"] = WeakKeyDictionary()  # the module that trained with each


def check_numbers(student: object, num_classes: int | None, seed: int) -> None:
    """Raises UserError for numbers that are no ints, and where a network is to be made for an unknown number of classes."""
    if seed is None:  # `whole` lets it pass
        raise UserError("seed = None: expected an int, at least 0")
    whole(0, seed=seed)
    whole(1, num_classes=num_classes)
    if num_classes is None and not isinstance(student, nn.Module):
        raise UserError("student is what makes a network: pass num_classes, too, such as 10, or the network itself")


def check_length_known(objective: Objective, training: Training) -> None:
    """Raises UserError where something goes by epochs, for a loader of which nobody knows when they end."""
    named = [name for name in ("eps_ramp", "first_steps") if getattr(training, name) is not None]
    named += [type(part).__name__ for part in objective.parts() if part.goes_by_epochs]
    if named:
        wanted = "pass limit_train_batches, the batches of an epoch, to the trainer"
        raise UserError(f"{named[0]} goes by epochs, and the loader has no length: {wanted}")


def check_accumulation(objective: Objective, trainer: pl.Trainer) -> None:
    """Raises UserError where steps differ in how many batches they have, or an objective would be told of one of several.

    The schedule is planned in steps, so that each must be of equally many batches.
    """
    batches = trainer.accumulate_grad_batches
    if any(isinstance(one, GradientAccumulationScheduler) for one in trainer.callbacks):  # type: ignore[attr-defined]
        raise UserError(
            "GradientAccumulationScheduler among the callbacks: the schedule counts steps of equally many batches; "
            "expected accumulate_grad_batches=N in the trainer"
        )
    if batches > 1 and objective.moves_after_step:
        name = type(objective).__name__
        raise UserError(f"accumulate_grad_batches = {batches}: {name} looks at every batch of a step; expected 1")


def check_precision(trainer: pl.Trainer) -> None:
    """Raises UserError where the weights would not be in float32."""
    if trainer.precision not in PRECISIONS:
        raise UserError(f"precision = {trainer.precision}: expected weights in float32, as with {', '.join(PRECISIONS)}")


def check_epoch_length(trainer: pl.Trainer, planned: int, schedule: str) -> None:
    """Raises UserError where an epoch has not as many batches as were planned, and epochs say when a schedule ends.

    multistep has no end. Lightning's averaging of weights has a schedule of its own, and a batch more in its last epoch.
    """
    averaged = any(isinstance(one, StochasticWeightAveraging) for one in trainer.callbacks)  # type: ignore[attr-defined]
    if averaged or schedule == "multistep":
        return
    batches = min(trainer.num_training_batches, UNENDING)
    if batches != planned and (trainer.max_epochs or 0) >= 0:
        raise UserError(
            f"epoch {trainer.current_epoch} has {batches} batches, and the schedule is planned for {planned} in each: "
            "expected loaders that stay as long, or limit_train_batches=N, or max_epochs=-1 and max_steps=N, in the trainer"
        )


def state_shapes(objective: Objective) -> list[Size]:
    """Of all that a copy of the method would follow."""
    return [value.shape for value in (*objective.parameters(), *objective.buffers())]


def check_averaging(objective: Objective, trainer: pl.Trainer, shapes: list[Size]) -> None:
    """Raises UserError where Lightning averages a copy that it took before `setup` gave the method its state."""
    averaging = [one for one in trainer.callbacks if isinstance(one, WeightAveraging)]  # type: ignore[attr-defined]
    if averaging and state_shapes(objective) != shapes:
        raise UserError(
            f"{type(averaging[0]).__name__} among the callbacks: it takes its copy of {type(objective).__name__} before "
            'that knows the run; expected training={"average": 0.9995} in the module, which averages the student'
        )


def check_augmentation(objective: Objective, data: Any, wanted: Mapping[str, Any]) -> None:
    """Raises UserError where images are mixed for a method that wants one class for each, or not as its name says.

    Args:
        objective: The method.
        data: The run's data module.
        wanted: What a method that was named says of its images, by argument of a data module.
    """
    if data.cutmix and objective.labels == "class":
        raise UserError(
            f"{type(objective).__name__} wants one class for each image, and cutmix gives an image shares of two: leave "
            "cutmix out, or take a method such as PGD-AT, TRADES, ARD or RSLAD"
        )
    for key, value in wanted.items():
        if getattr(data, key, None) != value:
            raise UserError(
                f"the method that was named trains on images with {key}={value!r}: expected a data module such as "
                f"ard.data.CIFAR10({key}={value!r}), or another method"
            )


def tell_held_in_eval(held: Iterable[nn.Module]) -> None:
    """A warning that names what of the student stays in eval mode, as whoever made it may not know."""
    kinds = Counter(type(module).__name__ for module in held if isinstance(module, _BatchNorm | _DropoutNd))
    if kinds:
        named = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        rank_zero_warn(f"the student keeps {named} in eval mode: call train() on them before, where that is not meant")


def check_own(objective: Objective, engine: nn.Module) -> None:
    """Raises UserError where an objective that learns has begun to do so beside another student."""
    owner = _OWNERS.get(objective)
    if owner is not None and owner() is not engine and objective.state_dict():
        raise UserError(f"this {type(objective).__name__} has been trained in another module: expected a new one for each")


def now_owned(objective: Objective, engine: nn.Module) -> None:
    """From now on the objective is that of this module."""
    _OWNERS[objective] = ref(engine)


def check_networks(student: nn.Module, teachers: Iterable[nn.Module]) -> None:
    """Raises UserError where nothing of a student can learn, or a teacher, which is frozen, holds weights of it."""
    if not any(parameter.requires_grad for parameter in student.parameters()):
        raise UserError(
            "no parameter of the student can learn, as where it has been a teacher: expected student.requires_grad_(True)"
        )
    learning = {id(parameter) for parameter in student.parameters()}
    for teacher in teachers:
        if any(id(parameter) in learning for parameter in teacher.parameters()):
            raise UserError(
                "the student and its teacher share weights, which a teacher freezes: expected two networks, such as "
                "teacher=copy.deepcopy(net)"
            )
