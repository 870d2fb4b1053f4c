"""The file of adversarial images: for each image the worst adversarial one and its verdict, and the claimed accuracies."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ard.artifacts.facts import Threat
from ard.artifacts.record import Record
from ard.artifacts.record_parts import DatasetSpec, WeightsFile
from ard.artifacts.tensors import digest_of_tensors
from ard.artifacts.typed_json import Count, Fraction, from_tree, parsed, reason_of, to_tree
from ard.core.errors import UserError
from ard.core.files import existing, readable, write_whole

TENSORS = ("x_adv", "y", "robust")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The part of a record that stored images prove."""

    weights: WeightsFile
    dataset: DatasetSpec
    split: str
    limit: Count | None
    threat: Threat
    robust_acc: Fraction


@dataclass(frozen=True, kw_only=True)
class AdversarialImages:
    """x_adv (n, C, H, W) float32, y (n,) int64, robust (n,) booleans, and the claim."""

    x_adv: Tensor
    y: Tensor
    robust: Tensor
    claim: Claim


def claim_of(record: Record) -> Claim:
    """The part of a record that its images can prove."""
    return Claim(
        weights=record.weights,
        dataset=record.dataset,
        split=record.split,
        limit=record.limit,
        threat=record.threat,
        robust_acc=record.robust_acc,
    )


def write_adversarial(path: Path, images: AdversarialImages, *, through: Path | None = None) -> None:
    """Write the file, whole or not at all."""
    tensors = {name: getattr(images, name).contiguous().cpu() for name in TENSORS}
    claim = json.dumps(to_tree(images.claim))
    write_whole(path, save(tensors, {"record": claim, "digest": digest_of_tensors(tensors, claim)}), through=through)


def read_adversarial(path: Path) -> AdversarialImages:
    """The images of a file or a folder of PNGs; raises UserError where there are none, or parts that do not fit."""
    if path.is_dir():
        from ard.artifacts.adversarial_pngs import read_pngs

        return read_pngs(path)
    existing(path, "what `ard evaluate --save-adversarial` writes")
    try:
        return _read(path)
    except UserError:
        raise
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} ({path.stat().st_size} bytes) holds no adversarial images: {reason_of(error)}; "
            "expected FILE.adversarial.safetensors, which `ard evaluate --save-adversarial` writes"
        ) from error


def _read(path: Path) -> AdversarialImages:
    with readable(path), safe_open(path, "pt") as content:
        if not set(TENSORS) <= set(content.keys()):
            raise ValueError("it has no x_adv, y and robust")
        about = content.metadata() or {}
        claim: Claim = from_tree(Claim, parsed(about["record"]))
        tensors = {name: content.get_tensor(name) for name in TENSORS}
    if "digest" in about and about["digest"] != digest_of_tensors(tensors, about["record"]):  # earlier versions wrote none
        raise ValueError("they are not those that were written")
    return checked(claim, **tensors)


def checked(claim: Claim, x_adv: Tensor, y: Tensor, robust: Tensor) -> AdversarialImages:
    """These parts together; raises ValueError where they are of other kinds or lengths."""
    kinds = (x_adv.dtype, y.dtype, robust.dtype) == (torch.float32, torch.int64, torch.bool)
    shapes = x_adv.ndim == 4 and y.shape == robust.shape == x_adv.shape[:1]
    if not (kinds and shapes and claim.split in ("test", "val")):
        raise ValueError("its parts do not belong together")
    return AdversarialImages(x_adv=x_adv, y=y, robust=robust, claim=claim)
