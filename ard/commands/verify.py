"""Adversarial images as evidence: stored with the verdicts, and checked again by `ard verify` in a fresh process."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ard.attacks import Ball
from ard.commands.subject import Subject
from ard.core.errors import UserError
from ard.core.files import sha256, write_whole
from ard.evaluation.cascade import evaluation_mode, predict
from ard.evaluation.request import Request
from ard.evaluation.verdicts import Verdicts

AT_ONCE = 64  # images a batch: not the evaluation's
CLAIM_FIELDS = ("weights", "dataset", "split", "limit", "threat", "robust_acc")


def save_adversarial(path: Path, record: dict[str, Any], verdicts: Verdicts, y: Tensor, through: Path) -> None:
    """x_adv (n, C, H, W) float32, y (n,) and robust (n,), with what the record says they are."""
    tensors = {"x_adv": verdicts.x_adv.contiguous(), "y": y.cpu(), "robust": verdicts.worst}
    write_whole(path, save(tensors, {"record": json.dumps({key: record[key] for key in CLAIM_FIELDS})}), through=through)


def verify_file(file: Path, weights: Path, data: str | None = None, network: str | None = None) -> tuple[str, list[str]]:
    """What stored adversarial images claim, and what is wrong with that; nothing where they prove it.

    The data are loaded anew: each image must lie in the ball around its own clean image and in [0, 1], labels must agree,
    and the model must answer as was claimed, up to 1 image in 1,000. Raises UserError where nothing can be compared.
    """
    x_adv, y, robust, told = _read(file)
    if sha256(weights) != told["weights"]["sha256"]:
        raise UserError(
            f"{file} was made from other weights than {weights}: sha256 {told['weights']['sha256'][:12]}… expected"
        )
    threat = told["threat"]
    request = Request(
        data=data, network=network, split=told["split"], limit=told["limit"], norm=threat["norm"], eps=str(threat["eps"])
    )
    subject = Subject.of(weights, request)
    if subject.digest != told["dataset"]["digest"] or x_adv.shape != subject.x.shape:
        raise UserError(f"{file} was made from other images than those of {subject.section['name']}: name its --data")
    claim = f"{len(y)} images within {threat['norm']} {threat['eps']:.4g}, robust accuracy {told['robust_acc']:.1%}"
    wrong = [*_wrong_images(x_adv, subject, subject.ball), *_wrong_answers(x_adv, y, robust, told, subject)]
    return claim, wrong


def _wrong_images(x_adv: Tensor, subject: Subject, ball: Ball) -> list[str]:
    distance = ball.distance(x_adv.to(subject.x.device) - subject.x)
    outside = int((~(distance <= ball.eps * (1 + 1e-5) + 1e-6)).sum())
    low, high = float(x_adv.min()), float(x_adv.max())
    found = [f"{outside} images leave the {ball.norm} ball of {ball.eps:.4g}"] if outside else []
    return found + ([] if low >= 0 and high <= 1 else [f"pixels in [{low:g}, {high:g}], expected [0, 1]"])


def _wrong_answers(x_adv: Tensor, y: Tensor, robust: Tensor, told: dict[str, Any], subject: Subject) -> list[str]:
    labels = int((y != subject.y.cpu()).sum())
    with evaluation_mode(subject.model):
        parts = x_adv.to(subject.x.device).split(AT_ONCE)
        right = torch.cat([predict(subject.model, part)[0] for part in parts]).cpu() == subject.y.cpu()
    flipped = int((right != robust).sum())
    found = [f"{labels} labels differ from the data's"] if labels else []
    found += [f"{flipped} of {len(y)} verdicts do not come out again"] if flipped > max(1, 0.001 * len(y)) else []
    claimed = abs(float(robust.double().mean()) - told["robust_acc"])
    return found + ([] if claimed <= 1e-9 else ["the verdicts do not make the robust accuracy that is claimed"])


def _read(file: Path) -> tuple[Tensor, Tensor, Tensor, dict[str, Any]]:
    if not file.is_file():
        raise UserError(f"{file}: no such file; expected what `ard evaluate --save_adversarial true` writes")
    try:
        with safe_open(file, "pt") as content:
            if not {"x_adv", "y", "robust"} <= set(content.keys()):
                raise ValueError("it has no x_adv, y and robust")
            told = json.loads((content.metadata() or {})["record"])
            x_adv, y, robust = (content.get_tensor(name) for name in ("x_adv", "y", "robust"))
        if not _belong(x_adv, y, robust, told):
            raise ValueError("its parts do not belong together")
        return x_adv, y, robust, told
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        reason = f"its record has no {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(
            f"{file} ({file.stat().st_size} bytes) holds no adversarial images: {reason}; "
            "expected FILE.adversarial.safetensors, which `ard evaluate --save-adversarial` writes"
        ) from error


def _belong(x_adv: Tensor, y: Tensor, robust: Tensor, told: dict[str, Any]) -> bool:
    kinds = (x_adv.dtype, y.dtype, robust.dtype) == (torch.float32, torch.int64, torch.bool)
    shapes = x_adv.ndim == 4 and y.shape == robust.shape == x_adv.shape[:1]
    numbers = all(isinstance(value, float) for value in (told["threat"]["eps"], told["robust_acc"]))
    texts = (told["weights"]["sha256"], told["dataset"]["digest"], told["threat"]["norm"])
    subset = told["split"] in ("test", "val") and isinstance(told["limit"], int | None)
    return kinds and shapes and numbers and all(isinstance(text, str) for text in texts) and subset
