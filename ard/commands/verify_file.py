"""`ard verify`: stored adversarial images are checked again in a fresh process."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ard.artifacts.adversarial import AdversarialImages, read_adversarial
from ard.attacks import Ball
from ard.commands.subject import Subject
from ard.core.errors import UserError
from ard.core.logits import check_logits
from ard.core.text import percent, radius
from ard.evaluation.cascade import evaluation_mode
from ard.evaluation.request import Request
from ard.losses import margin

AT_ONCE = 64  # images a batch: not the evaluation's
ROUNDING = 1e-3  # of the norm of logits: ten times what M2 allows between calls on one machine


def verify_file(file: Path, weights: Path, request: Request) -> tuple[str, list[str], str]:
    """The claim of stored adversarial images, what is wrong with it, nothing where the images prove it, and what holds.

    The data are loaded anew: each image must lie in the ball around its own clean image and in [0, 1], labels must agree,
    and predictions must be as claimed, but for 1 image, or 1 in 1,000 of more, whose largest logits are equal up to
    rounding. Raises UserError where nothing can be compared.
    """
    images = read_adversarial(file)
    claim, threat = images.claim, images.claim.threat
    claimed: dict[str, Any] = {"split": claim.split, "limit": claim.limit, "norm": threat.norm, "eps": str(threat.eps)}
    subject = Subject.of(weights, replace(request, **claimed))
    if subject.sha256 != claim.weights.sha256:
        raise UserError(
            f"{file} was made from other weights than {weights}: of SHA-256 {str(claim.weights.sha256)[:12]}…, these are "
            f"{subject.sha256[:12]}…; expected its own weights"
        )
    if subject.digest != claim.dataset.digest or images.x_adv.shape != subject.x.shape:
        raise UserError(f"{file} was made from other images than those of {subject.section['name']}: name its --data")
    text = f"{len(images.y)} images within {threat.words}, robust accuracy {percent(claim.robust_acc)}"
    wrong, held = _answers(images, subject)
    return text, [*_wrong_images(images, subject, subject.ball), *wrong], held


def _wrong_images(images: AdversarialImages, subject: Subject, ball: Ball) -> list[str]:
    x_adv = images.x_adv
    distance = ball.distance(x_adv.to(subject.x.device) - subject.x)
    outside = int((~(distance <= ball.eps * (1 + 1e-5) + 1e-6)).sum())
    low, high = float(x_adv.min()), float(x_adv.max())
    wrong = [f"{outside} images leave the {ball.norm} ball of {radius(ball.eps)}"] if outside else []
    if images.claim.threat.eight_bit and not torch.equal((x_adv * 255).round() / 255, x_adv):
        wrong.append("pixels between levels of 8 bits")
    return wrong + ([] if low >= 0 and high <= 1 else [f"pixels in [{low:g}, {high:g}], expected [0, 1]"])


def _answers(images: AdversarialImages, subject: Subject) -> tuple[list[str], str]:
    """What is wrong with labels and verdicts, and what holds of them."""
    y, n = subject.y.cpu(), len(images.y)
    labels = int((images.y != y).sum())
    flipped, tied = _flipped(images, subject)
    wrong = [f"{labels} labels differ from the data's"] if labels else []
    wrong += [f"{flipped} of {n} verdicts could not be reproduced"] if flipped > min(tied, max(1, 0.001 * n)) else []
    claimed = abs(float(images.robust.double().mean()) - images.claim.robust_acc)
    wrong += [] if claimed <= 1e-9 else ["the verdicts do not make the robust accuracy that is claimed"]
    if not flipped:
        return wrong, "every image, label and verdict holds"
    differ = f"{flipped} of {n:,} verdicts could not be reproduced, as the largest logits are equal up to rounding"
    return wrong, f"every image and label holds; {differ}"


@torch.no_grad()
def _flipped(images: AdversarialImages, subject: Subject) -> tuple[int, int]:
    """How many verdicts are not as claimed, and of how many of these rounding, which machines do differently, decides."""
    with evaluation_mode(subject.model):
        parts = images.x_adv.to(subject.x.device).split(AT_ONCE)
        logits = torch.cat([check_logits(subject.model(part), len(part), "the model") for part in parts])
    flipped = (logits.argmax(dim=1) == subject.y) != images.robust.to(logits.device)
    size = (logits - logits.mean(dim=1, keepdim=True)).norm(dim=1)
    tied = flipped & (margin(logits, subject.y).abs() <= ROUNDING * size)
    return int(flipped.sum()), int(tied.sum())
