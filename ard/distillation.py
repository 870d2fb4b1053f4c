"""The two ways to train: attack and descend, or replay each batch and do both with one backward pass."""

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ard.attacks import attacking
from ard.engine import Engine
from ard.errors import UserError


class Distillation(Engine):
    """Every step: the teacher speaks once, the attack climbs `inner`, the student descends `outer`."""

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = self.data.augment(batch[0], self.generator("augmentation", batch_idx)), batch[1]
        start = self.now()
        with attacking(self.student, self.objective, mode=self.attack_mode):
            inner, outer = self.objective(self.student, self.teacher, x, y)
            x_adv = x if inner is None else self.attack(inner, x, self.generator("attack", batch_idx))
        self.attack_seconds = self.now() - start
        self.terms = outer(x_adv)
        self.report(self.terms)
        return torch.stack(list(self.terms.values())).sum()

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)  # runs training_step; a checkpoint of this step must hold what follows
        self.after_step({name: term.detach() for name, term in self.terms.items()})


class FreeDistillation(Engine):
    """Free replays (Shafahi et al., NeurIPS 2019): one backward pass of `outer` moves both weights and perturbation.

    Each batch is replayed `replays` times; the perturbation takes a step of eps along its gradient, stays in the ball
    and persists across batches. `max_epochs` counts passes through the student, so the data are seen max_epochs /
    replays times and every row of a table costs the same number of updates. With the ARD objective this is Fast-ARD.
    """

    def __init__(self, *, replays: int = 8, **parts: Any) -> None:
        super().__init__(**parts)
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
        x, y = self.data.augment(batch[0], self.generator("augmentation", batch_idx)), batch[1]
        with attacking(self.student, self.objective, mode=self.attack_mode):
            inner, outer = self.objective(self.student, self.teacher, x, y)
        if inner is None:
            raise UserError(
                f"{type(self.objective).__name__} has no attack, so there is nothing to replay: use ard.Distillation"
            )
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        delta = torch.zeros_like(x) if self.delta is None else self.delta
        for _ in range(self.replays):
            x_adv = self.threat.project(x + delta, x).requires_grad_()
            terms = outer(x_adv)
            optimizer.zero_grad()  # type: ignore[union-attr]
            self.manual_backward(torch.stack(list(terms.values())).sum())
            ascent = self.threat.steepest(x_adv.grad)  # type: ignore[arg-type]
            delta = self.threat.shrink(delta + self.threat.eps * ascent)
            optimizer.step()  # type: ignore[union-attr]
            scheduler.step()  # type: ignore[union-attr]
            self.after_step({name: term.detach() for name, term in terms.items()})
        self.delta = delta
        self.report(terms)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.delta is not None:
            deltas = torch.as_tensor(self.all_gather(self.delta))
            checkpoint["delta"] = deltas.view(self.trainer.world_size, *self.delta.shape).cpu()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if "delta" in checkpoint:
            self.delta = checkpoint["delta"][self.global_rank].to(self.device)
