"""How nearly every method trains: an attack, then a step of the optimiser."""

from typing import Any

from torch import Tensor

from ard.training.engine import Engine
from ard.training.step import Taken, take
from ard.training.weight_perturbation import AWP


class Distillation(Engine):
    """Every step: the attack maximises the attack loss, then the optimiser minimises the training loss.

    `weight_perturbation` moves the weights to where that loss is taken, see AWP.
    """

    def __init__(self, *, weight_perturbation: AWP | None = None, **parts: Any) -> None:
        super().__init__(**parts)
        self.weight_perturbation = weight_perturbation
        self.taken: Taken | None = None  # the step under way, until its gradient is there

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = self.images(batch, batch_idx)
        self.taken = take(
            self.student,
            self.teacher,
            self.objective,
            self.attack,
            x,
            y,
            self.next_step(batch_idx),
            generator=self.generator("attack", batch_idx),
            mode=self.attack_mode,
            weight_perturbation=self.weight_perturbation,
            watch=self.watching(),
        )
        self.terms = self.taken.terms
        self.report(self.terms)
        return self.taken.loss

    def on_after_backward(self) -> None:
        if self.taken is not None:
            self.taken.undo()
            self.taken = None

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)  # runs training_step; a checkpoint of this step must hold what follows
        self.after_step()
