"""`ard verify`: stored adversarial images are checked again in a fresh process."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ard.artifacts.adversarial import AdversarialImages, read_adversarial
from ard.attacks import Ball
from ard.commands.subject import Subject
from ard.core.errors import UserError
from ard.core.text import radius
from ard.evaluation.cascade import evaluation_mode, predict
from ard.evaluation.request import Request

AT_ONCE = 64  # images a batch: not the evaluation's


def verify_file(file: Path, weights: Path, request: Request) -> tuple[str, list[str]]:
    """The claim of stored adversarial images, and what is wrong with it; nothing where the images prove it.

    The data are loaded anew: each image must lie in the ball around its own clean image and in [0, 1], labels must agree,
    and predictions must be as claimed, up to 1 image in 1,000. Raises UserError where nothing can be compared.
    """
    images = read_adversarial(file)
    claim, threat = images.claim, images.claim.threat
    claimed: dict[str, Any] = {"split": claim.split, "limit": claim.limit, "norm": threat.norm, "eps": str(threat.eps)}
    subject = Subject.of(weights, replace(request, **claimed))
    if subject.sha256 != claim.weights.sha256:
        raise UserError(
            f"{file} was made from other weights than {weights}: sha256 {str(claim.weights.sha256)[:12]}… expected"
        )
    if subject.digest != claim.dataset.digest or images.x_adv.shape != subject.x.shape:
        raise UserError(f"{file} was made from other images than those of {subject.section['name']}: name its --data")
    text = f"{len(images.y)} images within {threat.words}, robust accuracy {claim.robust_acc:.1%}"
    return text, [*_wrong_images(images, subject, subject.ball), *_wrong_answers(images, subject)]


def _wrong_images(images: AdversarialImages, subject: Subject, ball: Ball) -> list[str]:
    x_adv = images.x_adv
    distance = ball.distance(x_adv.to(subject.x.device) - subject.x)
    outside = int((~(distance <= ball.eps * (1 + 1e-5) + 1e-6)).sum())
    low, high = float(x_adv.min()), float(x_adv.max())
    wrong = [f"{outside} images leave the {ball.norm} ball of {radius(ball.eps)}"] if outside else []
    if images.claim.threat.eight_bit and not torch.equal((x_adv * 255).round() / 255, x_adv):
        wrong.append("pixels between levels of 8 bits")
    return wrong + ([] if low >= 0 and high <= 1 else [f"pixels in [{low:g}, {high:g}], expected [0, 1]"])


def _wrong_answers(images: AdversarialImages, subject: Subject) -> list[str]:
    y, n = subject.y.cpu(), len(images.y)
    labels = int((images.y != y).sum())
    with evaluation_mode(subject.model):
        parts = images.x_adv.to(subject.x.device).split(AT_ONCE)
        right = torch.cat([predict(subject.model, part)[0] for part in parts]).cpu() == y
    flipped = int((right != images.robust).sum())
    wrong = [f"{labels} labels differ from the data's"] if labels else []
    wrong += [f"{flipped} of {n} verdicts could not be reproduced"] if flipped > max(1, 0.001 * n) else []
    claimed = abs(float(images.robust.double().mean()) - images.claim.robust_acc)
    return wrong + ([] if claimed <= 1e-9 else ["the verdicts do not make the robust accuracy that is claimed"])
