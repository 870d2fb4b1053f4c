"""Validation at the end of an epoch, by which the epoch is selected."""

from abc import ABC, abstractmethod
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from ard.attacks import Attack
from ard.attacks.folding import folded
from ard.core.pixels import check_labels
from ard.core.randomness import keyed_generator
from ard.core.statistics import chance_level
from ard.data.foreign import check_one_loader, outside_inference
from ard.losses import attack_labels, cross_entropy
from ard.models import Frozen
from ard.training.callbacks.ranks import over_all


class Validated(pl.LightningModule, ABC):
    """A module that is validated: how accurate `selected` is on clean images, and on those attacked within the whole threat.

    Attributes:
        val_attack: Attacks the validation images.
        teacher: Asked about the attacked images, too, where there is one.
        seed: Of the attack's draws.
    """

    val_attack: Attack
    teacher: Frozen | None
    seed: int

    def __init__(self) -> None:
        super().__init__()
        self.accuracies = nn.ModuleDict()
        self.validated_counts = torch.zeros(())  # images of each class in the validation under way, of this process

    @property
    @abstractmethod
    def selected(self) -> nn.Module:
        """The network that is validated, selected and shipped."""

    @abstractmethod
    def received(self, batch: Any, batch_idx: int) -> tuple[Tensor, Tensor]:
        """Pixels and labels of a batch."""

    def on_validation_epoch_start(self) -> None:
        check_one_loader(self.trainer.val_dataloaders, "validation")
        self.validated_counts = torch.zeros((), device=self.device)
        self.share_buffers()  # all measure the network that is saved

    def share_buffers(self) -> None:
        """Give every process those of the first: under manual optimisation BatchNorm statistics drift apart."""
        if self.trainer.world_size > 1:
            for buffer in self.buffers():
                torch.distributed.broadcast(buffer, 0)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:  # noqa: ARG002
        """Accuracies on clean and attacked images; what it returns is for the guards. Wrong labels are refused.

        Without a `dataloader_idx` Lightning refuses several loaders in words of its own.
        """
        x, y = outside_inference(*self.received(batch, batch_idx))
        network = self.selected
        generator = keyed_generator(self.device, "val_attack", self.seed, batch_idx, self.global_rank)
        with torch.autocast(self.device.type, enabled=False), torch.inference_mode(False), torch.no_grad():
            logits = network(x)
            check_labels(y, logits.shape[1])
            with folded(network):
                x_adv = self.val_attack(attack_labels(network, y), x, generator)
            attacked = network(x_adv)
            taught = self.teacher(x_adv) if self.teacher is not None and self.teacher.loaded else None
        self.validated_counts = self.validated_counts + torch.bincount(y, minlength=logits.shape[1])
        self._count("clean", logits, y)
        self._count("robust", attacked, y)
        if taught is not None:
            self._count("teacher", taught, y)
        self.log("val/loss", cross_entropy(logits, y).mean(), batch_size=len(y), sync_dist=True)
        return {"x": x, "y": y, "predicted": logits.argmax(dim=1), "robust": attacked.argmax(dim=1) == y}

    def on_validation_epoch_end(self) -> None:
        """What the clean accuracy must exceed to be above naming the most frequent class, see selection."""
        if self.validated_counts.ndim:
            self.log("val/chance", chance_level(self.reduced(self.validated_counts).tolist()), sync_dist=True)

    def reduced(self, term: Tensor) -> Tensor:
        """Of all processes: the mean of a number, the sum of several."""
        return over_all(self.trainer, term, mean=not term.ndim)

    def _count(self, name: str, logits: Tensor, y: Tensor) -> None:
        if not self.accuracies:  # here, because a network of a user's own says only now how many classes it knows
            kinds = ("clean", "robust", "teacher")
            metrics = {kind: MulticlassAccuracy(logits.shape[1], average="micro").to(self.device) for kind in kinds}
            self.accuracies.update(metrics)
        metric = self.accuracies[name]
        metric.update(logits, y)  # type: ignore[operator]
        label = "teacher_on_student_adv_acc" if name == "teacher" else f"{name}_acc"
        self.log(f"val/{label}", metric, on_step=False, on_epoch=True, prog_bar=name != "teacher")  # type: ignore[arg-type]
