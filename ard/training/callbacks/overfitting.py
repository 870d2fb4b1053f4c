"""Overfitting to the attack: catastrophic, which few attack steps hide, and robust, which is slow."""

import math
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor

from ard.artifacts.paths import RunFolder
from ard.attacks import FGSM
from ard.attacks.folding import folded
from ard.core.errors import StoppedError
from ard.core.randomness import keyed_generator
from ard.core.ranges import one_of
from ard.core.text import percent
from ard.losses import attack_labels
from ard.training.callbacks.guard import Guard
from ard.training.callbacks.ranks import over_all
from ard.training.checkpoints import AtomicCheckpointIO
from ard.training.engine import Engine
from ard.training.selection import is_above_chance

Action = Literal["stop", "rollback", "warn"]
IMAGES = 1000  # of the validation split are enough


def judged(pgd: float, fgsm: float, best: float, images: int, *, suspected: bool) -> Literal["well", "suspected", "fooled"]:
    """Whether PGD finds what a single step no longer does.

    In 12,342 healthy epochs of published logs accuracy under PGD fell by at most 9.4 points on 10,000 images; on fewer the
    thresholds rise to four standard errors of a difference: the best is the highest of many epochs, luck included. Short of
    a collapse to nothing two validations in a row must agree, because networks have come back from one.

    Args:
        pgd: Accuracy under PGD now.
        fgsm: Accuracy under FGSM now.
        best: The highest accuracy under PGD so far.
        images: How many images these are of.
        suspected: Whether the validation before found anything but "well".

    Returns:
        "well" for a network that is as it was; "suspected" where PGD has fallen and FGSM finds it no more, for the first
        time; "fooled" where that is so again, or where next to nothing is left under PGD.
    """
    noise = 4 * math.sqrt(0.5 / images)
    if pgd < 0.05 and best > max(0.15, 0.05 + noise):
        return "fooled"
    if best - pgd >= max(0.10, noise) and fgsm - pgd >= max(0.20, noise):
        return "fooled" if suspected else "suspected"
    return "well"


def diagnosed(pgd: float, fgsm: float) -> tuple[str, str]:
    """What it is called, and what to do: where FGSM finds as much as PGD does, the attack of training is not to blame."""
    if fgsm - pgd < 0.05:
        return "collapse under attack", "FGSM finds it, too: train with a lower learning rate"
    return "catastrophic overfitting", "train with more attack steps, or a smaller step or eps"


class CatastrophicOverfitting(Guard):
    """After every validation, for recipes that are selected by robust accuracy: does the network fool its attack?

    On validation images, whose verdicts under PGD are there already, so that FGSM is all it costs, one gradient and one
    forward pass for at most 1,000 images an epoch. With weight averaging the validated network is another one, which would
    show it late: then the student itself is attacked as well. It waits for the radius to be whole: while `eps_ramp` holds it
    back, accuracy under the whole one may fall without any fault.
    """

    def __init__(self, action: Action = "stop") -> None:
        one_of(Action, action=action)
        super().__init__(pgd=None, pgd_best=0.0, fgsm=None, suspected=False)
        self.action = action

    def on_validation_start(self, trainer: pl.Trainer, engine: pl.LightningModule) -> None:
        self._counts, self._left = torch.zeros(3, device=engine.device), -(-IMAGES // trainer.world_size)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        engine: pl.LightningModule,
        outputs: Any,
        batch: Any,  # noqa: ARG002
        batch_idx: int,
        dataloader_idx: int = 0,  # noqa: ARG002
    ) -> None:
        assert isinstance(engine, Engine)
        x, y = outputs["x"][: self._left], outputs["y"][: self._left]
        self._left -= len(y)
        if not self.is_of_an_epoch(trainer):
            return
        if not len(y) or engine.training_block.monitor != "val/robust_acc" or engine.ball is not engine.threat:
            return
        generator = keyed_generator(engine.device, "guard", engine.seed, batch_idx, engine.global_rank)

        def right(attack: Any) -> Tensor:
            with folded(engine.student):
                x_adv = attack(attack_labels(engine.student, y), x, generator)
            return engine.student(x_adv).argmax(dim=1) == y

        with torch.inference_mode(False), torch.no_grad():  # a plain trainer validates under inference mode
            pgd = outputs["robust"][: len(y)] if engine.average is None else right(engine.val_attack)
            counts = torch.stack([y.new_tensor(len(y)), right(FGSM(engine.threat)).sum(), pgd.sum()])
        self._counts += counts

    def on_validation_end(self, trainer: pl.Trainer, engine: pl.LightningModule) -> None:  # noqa: ARG002
        images, fgsm, pgd = over_all(trainer, self._counts).tolist()
        if not images:
            return
        now = pgd / images, fgsm / images
        verdict = judged(*now, self.seen["pgd_best"], int(images), suspected=self.seen["suspected"])
        self.seen |= {"pgd": now[0], "fgsm": now[1], "suspected": verdict != "well"}
        name, advice = diagnosed(*now)
        text = (
            f"epoch {trainer.current_epoch}: {'perhaps ' * (verdict == 'suspected')}{name}: "
            f"on {int(images)} validation images PGD leaves {percent(now[0])} right "
            f"(best {percent(self.seen['pgd_best'])}), FGSM {percent(now[1])}"
        )
        if is_above_chance(trainer):
            self.seen["pgd_best"] = max(self.seen["pgd_best"], now[0])
        if self.action == "warn" and verdict != "well":
            self.warn(trainer, text)
        elif verdict == "suspected":
            self.warn(trainer, f"{text}; a second validation like this one ends the run")
        elif verdict == "fooled":
            raise StoppedError(f"{text}; {self._kept(trainer)}; {advice}")

    def _kept(self, trainer: pl.Trainer) -> str:
        """What is on disk now, in words."""
        folder = RunFolder.of(trainer.default_root_dir)
        if self.action == "stop" or not folder.best.is_file():
            return "this epoch was not saved, best.ckpt is kept"
        checkpoint = trainer.strategy.load_checkpoint(folder.best, weights_only=True)
        trainer.strategy.save_checkpoint(checkpoint, folder.last)
        if trainer.is_global_zero:  # else it is the newest, and what was rolled back would go on
            AtomicCheckpointIO().remove_checkpoint(folder.previous)
        trainer.strategy.barrier()
        return f"last.ckpt is best.ckpt of epoch {checkpoint['epoch']} again"


class RobustOverfitting(Guard):
    """Warns at the end of a run whose robust accuracy on validation images fell by more than 2 points from its best.

    Only of epochs above chance: a network that always names one class is neither robust nor overfitted.
    """

    def __init__(self) -> None:
        super().__init__(best=None, best_epoch=None, last=None, last_above_chance=True, validation_images=0)

    def on_validation_end(self, trainer: pl.Trainer, engine: pl.LightningModule) -> None:
        assert isinstance(engine, Engine)
        if not self.is_of_an_epoch(trainer):
            return
        value = float(trainer.callback_metrics["val/robust_acc"])
        is_above = is_above_chance(trainer)
        if is_above and (self.seen["best"] is None or value > self.seen["best"]):
            self.seen |= {"best": value, "best_epoch": trainer.current_epoch}
        images = int(engine.reduced(engine.validated_counts).sum())
        self.seen |= {"last": value, "last_above_chance": is_above, "validation_images": images}

    def on_train_end(self, trainer: pl.Trainer, engine: pl.LightningModule) -> None:
        assert isinstance(engine, Engine)
        best, last, n = (self.seen[name] for name in ("best", "last", "validation_images"))
        if best is None:
            return
        if not self.seen["last_above_chance"]:
            self.warn(
                trainer, "the last epoch is not above chance; student.safetensors is the best, last.safetensors the last"
            )
        elif best - last > 0.02 and engine.training_block.monitor == "val/robust_acc":
            self.warn(
                trainer,
                f"robust overfitting: val/robust_acc ended at {percent(last)}, {100 * (best - last):.1f} points below the "
                f"{percent(best)} of epoch {self.seen['best_epoch']}; student.safetensors is the best, last.safetensors "
                f"the last ({n} validation images: a difference under {200 * math.sqrt(0.5 / n):.0f} points may be chance)",
            )
