"""Nuclear-norm adversarial training: one step of attack, after which the batch's answers stay together as a matrix."""

from math import nan
from typing import Literal

import torch
from torch import Tensor, nn

from ard.core.errors import UserError
from ard.core.modes import in_mode
from ard.core.ranges import at_least, one_of
from ard.losses import AttackLoss, at_least_float32, cross_entropy
from ard.objectives.base import Objective, Pair, RunFacts

Guide = Literal["eval", "train"]


class NuAT(Objective):
    """Nuclear-norm adversarial training (NuAT), Sriramanan et al., NeurIPS 2021.

    Attack loss: CE(S(x'), y), in every second batch of an epoch + λ_e ‖S(x) − S(x')‖_* / B, S(x) a constant; from the start
    x ± eps/2, kept to [0, 1], the sign a fair coin for each pixel. Each image's loss holds the norm of the whole batch, so
    that examples mix, and `keep_best` of an attack would mean nothing; its gradient in an image is what is wanted.
    Training loss: mean CE(S(x), y) + λ_e ‖S(x) − S(x')‖_* / B, nothing detached.

    ‖·‖_* is the sum of the singular values of the logits, (batch, C). In epoch e of E, λ_e = λ min(1, e / (rise E)):
    0 in the first. As a mean over images the norm shrinks like 1/√B: λ belongs to the batch size, the paper's to 64. On
    several devices each has the norm of its own images.

    Args:
        strength: λ at the end of its rise, at least 0.
        rise: The share of the epochs in which λ_e rises, in (0, 1].
        batch_size: B. None: as many images as there are; the released code has 64 for a last, smaller batch, too.
        guide: The student's mode for S(x) in the attack: "eval" as for S(x'), or "train" as in the released code, which asks
            it in every batch, before the attack, so that BatchNorm sees the clean images twice.

    Raises:
        UserError: For numbers out of range.
    """

    labels = "soft"
    counts_epochs = True
    follows_progress = True

    def __init__(
        self,
        *,
        strength: float = 4.5,
        rise: float = 0.9,
        batch_size: int | None = None,
        guide: Guide = "eval",
    ) -> None:
        super().__init__()
        at_least(0, strength=strength)
        one_of(Guide, guide=guide)
        if not 0 < rise <= 1:
            raise UserError(f"rise = {rise}: expected a share of the epochs in (0, 1]")
        at_least(1, batch_size=batch_size)
        self.strength, self.rise, self.batch_size, self.guide = strength, rise, batch_size, guide
        self.epochs = 1

    def setup(self, run: RunFacts) -> None:
        self.threat, self.epochs = run.threat, max(1, run.max_epochs)

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:  # noqa: ARG002
        coins = torch.rand(x.shape, generator=self.generator, device=x.device, dtype=x.dtype) < 0.5
        signs = torch.where(coins, torch.ones_like(x), -1.0)
        start = (x + self.step.eps / 2 * self.threat.steepest(signs)).clamp(0, 1)
        strength = self.strength * min(1.0, self.epoch / (self.rise * self.epochs))
        weight = strength / (self.batch_size or len(x))
        drives = self.step.batch % 2 == 1
        clean = self._guide(student, x) if drives or self.guide == "train" else None

        def attack_loss(x_adv: Tensor) -> Tensor:
            adv = student(x_adv)
            loss = cross_entropy(adv, y)
            return loss + weight * nuclear_norm(clean - adv) if drives and clean is not None else loss

        def training_loss(x_adv: Tensor) -> dict[str, Tensor]:
            adv, clean = student(x_adv), student(x)
            return {"ce": self.hard_label(clean, y), "nuclear": weight * nuclear_norm(clean - adv)}

        return AttackLoss(attack_loss, start=start), training_loss

    @torch.no_grad()
    def _guide(self, student: nn.Module, x: Tensor) -> Tensor:
        with in_mode(student, train=student.training or self.guide == "train"):
            return student(x)


def nuclear_norm(matrix: Tensor) -> Tensor:
    """‖D‖_*, the sum of the singular values of D, a scalar; NaN where D is not finite.

    Its gradient is U Vᵀ over the singular values that are more than rounding: of all that it might be where D has lost
    rank, the shortest, and so 0 where D is 0. Computed in at least float32.

    Args:
        matrix: D, shape (rows, columns).
    """
    wide = at_least_float32(matrix)
    with torch.no_grad(), torch.autocast(matrix.device.type, enabled=False):
        try:
            left, values, right = torch.linalg.svd(wide.detach(), full_matrices=False)
        except torch.linalg.LinAlgError:  # of what is not finite; who trains is to see that
            return nan * wide.sum()
        kept = values > max(matrix.shape) * torch.finfo(wide.dtype).eps * values[:1]
        slope = (left * kept) @ right
    return (slope * wide).sum()
