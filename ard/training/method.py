"""What an engine is given in Python, completed: a method by its name brings all its recipe says; the rest has defaults."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from inspect import signature
from pathlib import Path
from typing import Any, Literal, Self

from torch import nn

import ard.models
from ard.attacks import PGD, AttackFactory, Ball, Linf
from ard.attacks.attacking import AttackMode
from ard.configs.building import build
from ard.configs.catalogue import names
from ard.configs.files import read_yaml
from ard.core.errors import UserError
from ard.core.radius import RadiusLike
from ard.core.ranges import of_kind
from ard.core.suggestions import did_you_mean, same_name
from ard.models import Frozen, Network
from ard.models.frozen import teacher_of
from ard.objectives.base import Objective
from ard.training.schedule import Training
from ard.training.step import CleanPass
from ard.training.weight_perturbation import AWP

DEFAULTS = Training()
Clamped = Literal["image", "perturbation"]  # what a free replay keeps in the ball
EPS = "8/255"  # the radius where nobody says one: that of CIFAR-10 and of nearly every published number


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way to train, as its recipe in configs/methods says it; what the recipe leaves open is as here."""

    objective: Objective
    attack: AttackFactory = PGD  # ten steps of eps / 4
    training: Training = DEFAULTS
    attack_mode: AttackMode = "eval"
    clean_pass: CleanPass | None = None
    weight_perturbation: AWP | None = None
    replays: int = 8
    data: dict[str, Any] = field(default_factory=dict)  # what its images have to be augmented by: data module's arguments
    clamped: Clamped = "image"

    @classmethod
    def of(cls, objective: Objective | str, engine: type) -> Self:
        """By its name in `ard list methods`, whatever its case, hyphens and underscores; an objective brings its loss alone.

        Raises UserError for no such method, for one of another engine, and for one whose teachers a name cannot say.
        """
        if isinstance(objective, Objective):
            return cls(objective=objective)
        if not isinstance(objective, str):
            raise UserError(f"objective = {objective!r}: expected a name of `ard list methods`, or a method such as RSLAD()")
        tree = read_yaml(same_name(objective, names("methods")) or objective, "methods")
        recipe, data = tree["model"], tree.get("data", {}).get("init_args", {})
        _check_engine(objective, recipe["class_path"].rpartition(".")[2], engine)
        arguments = {key: value for key, value in recipe["init_args"].items() if key != "teacher"}
        kinds = {"objective": Objective, "attack": AttackFactory, "training": Training, "weight_perturbation": AWP}
        parts = {key: build(kinds[key], value) if key in kinds else value for key, value in arguments.items()}
        _check_teachers(objective, parts["objective"])
        return cls(**parts, data=data)

    def training_with(self, given: Training | Mapping[str, Any] | None) -> Training:
        """The recipe's training block, in which the keys of a mapping win, or whatever a Training has besides its defaults.

        Raises UserError for a key that Training does not have, and for a value that it cannot use.
        """
        if given is None:
            return self.training
        if isinstance(given, Mapping):
            known = [part.name for part in fields(Training)]
            for name in set(given) - set(known):
                raise UserError(f"training: unknown key {name!r}{did_you_mean(name, known)}; expected keys of Training")
            try:
                return replace(self.training, **given)
            except TypeError as error:
                raise UserError(f"training = {dict(given)}: {error}") from error
        of_kind(Training, "a Training, or a mapping with keys of it, such as {'lr': 0.1}", training=given)
        values = {part.name: getattr(given, part.name) for part in fields(Training)}
        return replace(self.training, **{name: value for name, value in values.items() if value != getattr(DEFAULTS, name)})


def network_named(student: nn.Module | Network | str) -> nn.Module | Network:
    """The network of ard.models that a name means, whatever its case and underscores; anything but a name as it is."""
    if callable(student):
        return student
    if not isinstance(student, str):
        raise UserError(f"student = {student!r}: expected an nn.Module, what makes one, or a name such as 'mobilenet_v2'")
    known = {name: kind for name in ard.models.__all__ if _needs_classes_alone(kind := getattr(ard.models, name))}
    name = same_name(student, known)
    if name is None:
        raise UserError(
            f"no network {student!r}{did_you_mean(student, known)}; expected an nn.Module, or one of {', '.join(known)}"
        )
    return known[name]


def threat_of(threat: Ball | None, eps: RadiusLike | None) -> Ball:
    """The ball that a threat, or a radius as the short way to say Linf, means; by default Linf of 8/255."""
    if threat is not None and eps is not None:
        raise UserError(f"threat and eps = {eps}: expected one of them; eps is short for threat=ard.Linf(eps)")
    if threat is not None and not isinstance(threat, Ball):
        raise UserError(f"threat = {threat!r}: expected a ball such as ard.Linf(8/255), or eps=8/255")
    return threat if threat is not None else Linf(EPS if eps is None else eps)


def frozen_teacher(teacher: Frozen | nn.Module | Network | str | Path | None, num_classes: int | None) -> Frozen | None:
    """A teacher as engines take it: a network itself, what makes it once called with num_classes, or its file of weights."""
    if teacher is None:
        return None
    if isinstance(teacher, str | Path | nn.Module):
        return teacher_of(teacher)
    if not callable(teacher):
        raise UserError(f"teacher = {teacher!r}: expected an nn.Module, what makes one, or a file of weights")
    if num_classes is None:
        raise UserError("teacher is what makes a network: pass num_classes, too, such as 10, or the network itself")
    return Frozen.of(teacher(num_classes=num_classes))


def _needs_classes_alone(kind: Any) -> bool:
    needed = {part.name for part in signature(kind).parameters.values() if part.default is part.empty}
    return isinstance(kind, type) and issubclass(kind, nn.Module) and needed == {"num_classes"}


def _check_engine(name: str, needed: str, engine: type) -> None:
    if needed not in {kind.__name__ for kind in engine.__mro__}:
        replays = "trains by free replays" if needed == "FreeDistillation" else "is no method of free replays"
        raise UserError(f"{name} {replays}: expected ard.{needed}(objective={name!r}, ...)")


def _check_teachers(name: str, objective: Objective) -> None:
    missing = [place for place, part in objective.named_modules() if isinstance(part, Frozen) and not part.weights]
    if missing:
        kind = f"{type(objective).__module__}.{type(objective).__name__}"
        raise UserError(
            f"{name} has one more teacher, {missing[0]}, which a name cannot say: expected "
            f"objective={kind}({missing[0]}=ard.models.Frozen.of(net))"
        )
