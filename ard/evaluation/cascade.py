"""Every attack on every image, in fixed blocks, and the verdicts image by image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ard.attacks import Ball, harmless
from ard.errors import UserError
from ard.evaluation.adversaries import Adversary
from ard.randomness import keyed_generator

BLOCK = 100  # images; fixed, so that a verdict does not depend on how an evaluation was batched


@dataclass
class Verdicts:
    """`correct[name]` says for every image whether the model was right: on the clean image, or after that attack."""

    correct: dict[str, Tensor]
    largest: dict[str, float] = field(default_factory=dict)  # distance travelled, by attack
    outside: float = 0.0  # how far any attacked pixel left [0, 1]
    unmoved: float = 0.0  # share of clean-correct images that no attack moved
    broken: int = 0  # images with NaN or Inf among attacked pixels or logits

    @property
    def worst(self) -> Tensor:
        """Per image: right on the clean image and after every attack."""
        return torch.stack(list(self.correct.values())).all(dim=0)


def judge(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    adversaries: Sequence[Adversary],
    ball: Ball,
    *,
    seed: int,
    progress: Callable[[int], None] = lambda _: None,
) -> Verdicts:
    """Attack the images (n, C, H, W) in [0, 1] that the model gets right; `progress` is told the images of each block.

    Raises UserError where pixels leave [0, 1] or the model does not return one logit a class for each image.
    """
    _check_images(x)
    blocks = [
        _judge_block(model, x[i : i + BLOCK], y[i : i + BLOCK], adversaries, ball, (seed, i), progress)
        for i in range(0, len(x), BLOCK)
    ]
    names = blocks[0].correct
    moved = [block.unmoved * int(block.correct["clean"].sum()) for block in blocks]
    return Verdicts(
        {name: torch.cat([block.correct[name] for block in blocks]) for name in names},
        {a.name: max(block.largest.get(a.name, 0.0) for block in blocks) for a in adversaries},
        max(block.outside for block in blocks),
        sum(moved) / max(1, sum(int(block.correct["clean"].sum()) for block in blocks)),
        sum(block.broken for block in blocks),
    )


def _judge_block(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    adversaries: Sequence[Adversary],
    ball: Ball,
    key: tuple[int, int],
    progress: Callable[[int], None],
) -> Verdicts:
    with harmless(model), torch.autocast(x.device.type, enabled=False):
        predicted, finite = _predict(model, x)
        clean = predicted == y
        verdicts = Verdicts({"clean": clean.cpu()}, broken=int((~finite).sum()))
        standing = clean.nonzero().squeeze(1)
        moved = torch.zeros(len(standing), dtype=torch.bool, device=x.device)
        for adversary in adversaries:
            correct = clean.clone()
            if len(standing):
                generator = keyed_generator(x.device, adversary.name, *key)
                x_adv = adversary(model, x[standing], y[standing], generator).detach()
                predicted, finite = _predict(model, x_adv)
                correct[standing] = predicted == y[standing]
                verdicts.broken += int((~(finite & x_adv.isfinite().flatten(1).all(dim=1))).sum())
                distance = ball.distance(x_adv - x[standing])
                moved |= distance > 1e-6
                verdicts.largest[adversary.name] = float(distance.max())
                verdicts.outside = max(verdicts.outside, float(-x_adv.min()), float(x_adv.max() - 1))
            verdicts.correct[adversary.name] = correct.cpu()
        verdicts.unmoved = 1 - float(moved.float().mean()) if len(standing) else 0.0
    progress(len(x))
    return verdicts


@torch.no_grad()
def _predict(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """The predicted class of each image, and whether its logits are finite."""
    logits = model(x)
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(x):
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise UserError(f"the model returns {found} for {len(x)} images; expected one logit a class for each image")
    return logits.argmax(dim=1), logits.isfinite().all(dim=1)


def _check_images(x: Tensor) -> None:
    if not len(x):
        raise UserError("no images to evaluate; expected at least one")
    low, high = float(x.min()), float(x.max())
    if not 0 <= low <= high <= 1:
        raise UserError(
            f"pixels in [{low:g}, {high:g}]; expected [0, 1]: normalise inside the model (ard.models.Normalized)"
        )
