"""The two ways to train: attack and descend, or replay each batch and do both with one backward pass."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ard.attacks import attacking
from ard.core.errors import UserError
from ard.losses import AttackLoss
from ard.objectives.base import total_loss
from ard.training.engine import Engine
from ard.training.weight_perturbation import AWP


class Distillation(Engine):
    """Every step: the teacher speaks once, the attack climbs `inner`, the student descends `outer`."""

    def __init__(self, *, weight_perturbation: AWP | None = None, **parts: Any) -> None:
        super().__init__(**parts)
        self.weight_perturbation = weight_perturbation
        self.restore: Callable[[], None] | None = None

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = self.images(batch, batch_idx)
        start = self.now()
        with attacking(self.student, self.objective, mode=self.attack_mode):
            inner, outer = self.objective(self.student, self.teacher, x, y)
            x_adv = x if inner is None else self.attack(inner, x, self.generator("attack", batch_idx))
        self.attack_seconds = self.now() - start
        if self.weight_perturbation is not None and self.objective.progress >= self.weight_perturbation.start:
            self.restore = self.weight_perturbation(self.student, lambda: total_loss(outer(x_adv)))
        self.terms = outer(x_adv)
        self.report(self.terms)
        return total_loss(self.terms)

    def on_after_backward(self) -> None:
        if self.restore is not None:
            self.restore()
            self.restore = None

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)  # runs training_step; a checkpoint of this step must hold what follows
        self.after_step()


class FreeDistillation(Engine):
    """Free replays (Shafahi et al., NeurIPS 2019): one backward pass of `outer` moves both weights and perturbation.

    Each batch is replayed `replays` times; the perturbation takes a step of eps along its gradient, stays in the ball
    and persists across batches. `max_epochs` counts passes through the student, so the data are seen max_epochs /
    replays times and every row of a table costs the same number of updates. With the ARD objective this is Fast-ARD.
    """

    def __init__(self, *, replays: int = 8, **parts: Any) -> None:
        super().__init__(**parts)
        if replays < 1:
            raise UserError(f"replays = {replays}: expected at least 1")
        self.replays = replays
        self.automatic_optimization = False
        self.delta: Tensor | None = None  # not a buffer: DDP would overwrite every rank's with the first's

    def setup(self, stage: str) -> None:
        if stage == "fit":
            epochs = self.trainer.max_epochs or 1
            if epochs % self.replays:
                raise UserError(
                    f"max_epochs = {epochs}: expected a multiple of replays = {self.replays}, see FreeDistillation"
                )
            self.trainer.fit_loop.max_epochs = epochs // self.replays
        super().setup(stage)

    @cached_property
    def optimizer_steps(self) -> int:
        return super().optimizer_steps * self.replays

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        x, y = self.images(batch, batch_idx)
        with attacking(self.student, self.objective, mode=self.attack_mode):
            inner, outer = self.objective(self.student, self.teacher, x, y)
        if inner is None or isinstance(inner, AttackLoss):
            missing = "has no attack" if inner is None else "needs an attack of its own"
            raise UserError(
                f"{type(self.objective).__name__} {missing}, so there is nothing to replay: use ard.Distillation"
            )
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        delta = torch.zeros_like(x) if self.delta is None or self.delta.shape != x.shape else self.delta
        for _ in range(self.replays):
            x_adv = self.threat.project(x + delta, x).requires_grad_()
            self.terms = outer(x_adv)
            optimizer.zero_grad()  # type: ignore[union-attr]
            self.manual_backward(total_loss(self.terms))
            ascent = self.threat.steepest(x_adv.grad).nan_to_num(0)  # type: ignore[arg-type] # float16 may have overflowed
            delta = self.threat.shrink(delta + self.threat.eps * ascent)
            optimizer.step()  # type: ignore[union-attr]
            scheduler.step()  # type: ignore[union-attr]
            self.after_step()
        self.delta = delta
        self.report(self.terms)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.delta is not None:
            deltas = torch.as_tensor(self.all_gather(self.delta))
            checkpoint["delta"] = deltas.view(self.trainer.world_size, *self.delta.shape).cpu()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if len(checkpoint.get("delta", [])) == self.trainer.world_size:  # else the number of processes was changed
            self.delta = checkpoint["delta"][self.global_rank].to(self.device)
