"""Free replays: each batch several times, and one backward pass for the weights and the attack."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from ard.attacks import AttackFactory, Ball, attacking
from ard.attacks.attacking import AttackMode
from ard.core.errors import UserError
from ard.core.radius import RadiusLike
from ard.core.ranges import one_of, whole
from ard.losses import AttackLoss
from ard.models import Frozen, Network
from ard.objectives.base import Objective, Step, TrainingLoss
from ard.objectives.returned import total_loss
from ard.training.callbacks.lent_epochs import LentEpochs
from ard.training.engine import Engine
from ard.training.method import Clamped, Method, frozen_teacher, network_named, threat_of
from ard.training.schedule import Training
from ard.training.step import listening


def replayed_loss(
    student: nn.Module,
    teacher: Any,
    objective: Objective,
    x: Tensor,
    y: Tensor,
    step: Step,
    *,
    mode: AttackMode = "eval",
) -> TrainingLoss:
    """The training loss of one batch, for all its replays; arguments as of training.step.take.

    Raises:
        UserError: For a method without an attack, or one that asks more of it than replays can give.
    """
    objective.begin(step)
    with attacking(student, objective, mode=mode):
        attack_loss, training_loss = objective(student, teacher, x, y)
    if attack_loss is None or isinstance(attack_loss, AttackLoss):
        missing = "has no attack" if attack_loss is None else "needs an attack of its own"
        raise UserError(f"{type(objective).__name__} {missing}, so there is nothing to replay: use ard.Distillation")
    return training_loss


def replay(
    training_loss: TrainingLoss,
    x: Tensor,
    delta: Tensor | None,
    *,
    ball: Ball,
    count: int,
    descend: Callable[[dict[str, Tensor]], None],
    clamped: Clamped = "image",
) -> Tensor:
    """Minimise the training loss in `count` steps; after each, the perturbation takes a step of eps along its gradient.

    Args:
        training_loss: Of the attacked images.
        x: Images in [0, 1], shape (batch, channels, height, width).
        delta: The perturbation of the batch before; None, or of another shape, for none.
        ball: Where the perturbation stays.
        count: Number of replays.
        descend: Given the terms: their backward pass, and a step of the optimiser.
        clamped: What is cut back to [0, 1], see FreeDistillation.

    Returns:
        The perturbation for the next batch, of x's shape.
    """
    if delta is None or delta.shape != x.shape:
        delta = torch.zeros_like(x)
    delta = delta.to(x.device)  # that of a checkpoint is on the CPU
    for _ in range(count):
        x_adv = (ball.project(x + delta, x) if clamped == "image" else x + delta).requires_grad_()
        descend(training_loss(x_adv))
        uphill = ball.steepest(x_adv.grad).nan_to_num(0)  # type: ignore[arg-type] # float16 may have overflowed
        delta = ball.shrink(delta + ball.eps * uphill)
        if clamped == "perturbation":
            delta = delta.clamp(-x, 1 - x)
    return delta


class FreeDistillation(Engine):
    """Free replays (Shafahi et al., NeurIPS 2019): one backward pass moves both weights and perturbation.

    Each batch is replayed `replays` times; the perturbation takes a step of eps along its gradient, stays in the ball
    and persists across batches. `max_epochs` counts passes through the student, so the data are seen max_epochs /
    replays times and every row of a table costs the same number of updates. With the ARD objective this is Fast-ARD.

    Args:
        student: The network that is trained, see Distillation.
        objective: A method by its name: "fast_ard" or "free_at", or an Objective.
        teacher: The network that is learned from, see Distillation.
        threat: Which images an attack may choose from, such as ard.Linf(8/255). By default Linf of 8/255.
        eps: A radius, short for threat=ard.Linf(eps).
        replays: How often each batch is used; by default the recipe's, else 8. The trainer's max_epochs is a multiple of it,
            unless it has max_steps alone, which counts replays, or fast_dev_run.
        clamped: What is cut back so that pixels stay in [0, 1]: the attacked image, each time that it is shown; or after
            each step the perturbation, whose first use with the next batch may then leave that range, as in a released
            code. By default the image, or what the recipe says.
        val_attack: Makes the attack of validation from the threat; by default PGD of ten steps of eps / 4.
        training: Optimiser, schedule, averaging, see Distillation.
        attack_mode: The student's mode while the objective looks at it, by default eval, or what the recipe says.
        init: A file of weights that the student starts from.
        num_classes: Number of classes, see Distillation.
        seed: Of the student's first weights and of every random draw in training.
    """

    def __init__(
        self,
        *,
        student: nn.Module | Network | str,
        objective: Objective | str,
        teacher: Frozen | nn.Module | Network | str | Path | None = None,
        threat: Ball | None = None,
        eps: RadiusLike | None = None,
        replays: int | None = None,
        clamped: Clamped | None = None,
        val_attack: AttackFactory | None = None,
        training: Training | Mapping[str, Any] | None = None,
        attack_mode: AttackMode | None = None,
        init: str | Path | None = None,
        num_classes: int | None = None,
        seed: int = 0,
    ) -> None:
        method = Method.of(objective, type(self))
        super().__init__(
            student=network_named(student),
            objective=method.objective,
            threat=threat_of(threat, eps),
            attack=Method.attack,
            val_attack=Method.attack if val_attack is None else val_attack,
            training=method.training_with(training),
            teacher=frozen_teacher(teacher, num_classes),
            attack_mode=attack_mode or method.attack_mode,
            init=init,
            num_classes=num_classes,
            seed=seed,
        )
        self.augmented_by = method.data
        self.replays = method.replays if replays is None else replays
        self._check_replays()
        self.clamped = clamped or method.clamped
        one_of(Clamped, clamped=self.clamped)
        self.automatic_optimization = False
        self.delta: Tensor | None = None  # not a buffer: DDP would overwrite every rank's with the first's

    def _check_replays(self) -> None:
        whole(1, replays=self.replays)
        if (first := self.training_block.first_steps) is not None:
            raise UserError(f"first_steps = {first}: free replays take no steps of an attack; expected null")

    @classmethod
    def from_config(
        cls,
        *,
        student: Network,
        objective: Objective,
        threat: Ball,
        attack: AttackFactory,  # noqa: ARG003
        val_attack: AttackFactory,
        training: Training,
        teacher: Frozen | None = None,
        attack_mode: AttackMode = "eval",
        replays: int = 8,
        clamped: Clamped = "image",
        init: str | None = None,
        num_classes: int = 10,
        seed: int = 0,
    ) -> Self:
        """As a config says it, which names every part; `attack` is that of its base, and has nothing to do here."""
        return cls(
            student=student,
            objective=objective,
            threat=threat,
            replays=replays,
            clamped=clamped,
            val_attack=val_attack,
            training=training,
            teacher=teacher,
            attack_mode=attack_mode,
            init=init,
            num_classes=num_classes,
            seed=seed,
        )

    def setup(self, stage: str) -> None:
        if stage == "fit":
            self.automatic_optimization = False
            if (batches := self.trainer.accumulate_grad_batches) != 1:
                raise UserError(f"accumulate_grad_batches = {batches}: each replay is a step of its own; expected 1")
            self._take_epochs()
        super().setup(stage)

    def _take_epochs(self) -> None:
        """Tell the trainer how often the data are seen; an end that is said in steps, or for a rehearsal, stays."""
        epochs = self.trainer.max_epochs
        if epochs is None or epochs < 0 or self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        if epochs % self.replays:
            raise UserError(f"max_epochs = {epochs}: expected a multiple of replays = {self.replays}, see FreeDistillation")
        lent = next(part for part in self.trainer.callbacks if isinstance(part, LentEpochs))  # type: ignore[attr-defined]
        lent.take(self.trainer, epochs // self.replays)

    def configure_callbacks(self) -> list[Any]:
        """What gives the trainer its epochs back.

        This is the last hook before Lightning refuses to clip gradients of steps that it does not take: until `setup` they
        pass for its own, so that the trainer keeps its value.
        """
        self.automatic_optimization = True
        lent = any(isinstance(part, LentEpochs) for part in self.trainer.callbacks)  # type: ignore[attr-defined]
        return [] if lent else [LentEpochs()]

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Here gradients have lost float16's scale, and the guards have seen them."""
        if self.trainer.gradient_clip_val:
            self.clip_gradients(optimizer, self.trainer.gradient_clip_val, self.trainer.gradient_clip_algorithm)

    @property
    def steps_per_epoch(self) -> int:
        return super().steps_per_epoch * self.replays

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        x, y = self.images(batch, batch_idx)
        parts = self.student, self.objective.wanted_teacher(self.teacher), self.objective
        training_loss = replayed_loss(*parts, x, y, self.next_step(batch_idx), mode=self.attack_mode)

        def heard(x_adv: Tensor) -> dict[str, Tensor]:
            with listening(self.student, x_adv) as answers:
                terms = training_loss(x_adv)
            self.answers = answers[0] if answers else None
            return terms

        how: Any = {"ball": self.ball, "count": self._replays_left(), "descend": self.descend, "clamped": self.clamped}
        self.delta = replay(heard, x, self.delta, **how)
        self.report(self.terms, self.answers, y)

    def _replays_left(self) -> int:
        """How often this batch is replayed: `max_steps` may end the run among its replays, and its schedule with it."""
        most = self.trainer.max_steps
        return self.replays if most < 0 else min(self.replays, most - self.trainer.global_step)

    def descend(self, terms: dict[str, Tensor]) -> None:
        """One replay's backward pass and optimiser step, and the schedule's."""
        self.terms = terms
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        optimizer.zero_grad()  # type: ignore[union-attr]
        self.manual_backward(total_loss(terms))
        optimizer.step()  # type: ignore[union-attr]
        torch.clear_autocast_cache()  # a cast that it remembers is of the weights before
        scheduler.step()  # type: ignore[union-attr]
        self.after_step()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.delta is not None:
            deltas = torch.as_tensor(self.all_gather(self.delta))
            checkpoint["delta"] = deltas.view(self.trainer.world_size, *self.delta.shape).cpu()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if len(checkpoint.get("delta", [])) == self.trainer.world_size:  # else the number of processes was changed
            self.delta = checkpoint["delta"][self.global_rank]  # the first step takes it to its device
