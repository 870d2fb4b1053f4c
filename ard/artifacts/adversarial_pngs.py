"""The folder of adversarial images of 8 bits: a PNG each, to look at and to hand on, and claim.json with the rest."""

import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ard.artifacts.adversarial import AdversarialImages, Claim, checked
from ard.artifacts.paths import CLAIM
from ard.artifacts.tensors import LARGEST_FILE, digest_of_tensors
from ard.artifacts.typed_json import from_tree, parsed, reason_of, to_tree
from ard.core.errors import UserError
from ard.core.files import discard, open_regular, or_user_error, small_text, sync_folder
from ard.core.pixels import levels_of
from ard.core.text import first_few

WIDEST = 4096  # pixels of a side


def write_pngs(folder: Path, images: AdversarialImages, *, through: Path) -> None:
    """Write the claim, and then 00000.png and so on: a folder that is half written is known as ours, and is no proof.

    `through` is a folder of the same file system.
    """
    x = images.x_adv.cpu()
    if x.shape[1] not in (1, 3):
        raise UserError(f"images of {x.shape[1]} channels: PNGs hold 1 or 3")
    claim, y, robust = json.dumps(to_tree(images.claim)), images.y.cpu(), images.robust.cpu()
    digest = digest_of_tensors({"x_adv": x, "y": y, "robust": robust}, claim)
    about = {"claim": json.loads(claim), "y": y.tolist(), "robust": robust.tolist(), "digest": digest}
    made = through / folder.name
    _check_place(folder, free=[CLAIM, *map(_name, range(len(x)))])
    with or_user_error(folder):
        shutil.rmtree(made, ignore_errors=True)
        for place_of_both in (made, folder):
            place_of_both.mkdir(parents=True, exist_ok=True)
        for place, pixels in enumerate(levels_of(x).permute(0, 2, 3, 1).numpy()):
            Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).save(made / _name(place))
        (made / CLAIM).write_text(json.dumps(about, indent=1), encoding="utf-8")
        for file in sorted(made.iterdir(), key=lambda file: file.name != CLAIM):  # first: it says that the others are ours
            os.replace(file, folder / file.name)
        sync_folder(folder)


def check_pngs(folder: Path) -> None:
    """Raises UserError where write_pngs would write among files that are not ours."""
    _check_place(folder, free=[])
    if folder.exists() and not folder.is_dir():
        raise _foreign(folder, "is a file")
    with or_user_error(folder):
        if folder.is_dir() and any(folder.iterdir()) and _count(folder) is None:
            raise _foreign(folder, f"holds files, but no {CLAIM} of ours")


def _check_place(folder: Path, free: Sequence[str]) -> None:
    if folder.is_symlink():
        raise _foreign(folder, "is a link")
    if taken := [name for name in free if os.path.lexists(folder / name)]:
        raise _foreign(folder, f"holds {first_few(taken, 3)}, which is not of an evaluation")


def _foreign(folder: Path, what: str) -> UserError:
    return UserError(f"{folder} {what}; expected a folder of adversarial images, or nothing: move it away")


def _count(folder: Path) -> int | None:
    """How many images the claim of a folder is of; None where it has none of ours."""
    try:
        return len(parsed(small_text(folder / CLAIM))["y"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remove_pngs(folder: Path) -> None:
    """Remove what write_pngs wrote, by the names in its claim, and nothing else that lies there or that a link leads to."""
    count = None if folder.is_symlink() else _count(folder)
    if count is None:
        return
    with or_user_error(folder):
        for place in range(count):
            discard(folder / _name(place))
        (folder / CLAIM).unlink()  # last: without it nobody knows whose images these are
        with suppress(OSError):
            folder.rmdir()


def read_pngs(folder: Path) -> AdversarialImages:
    """The images of a folder; raises UserError where a part is missing, damaged or another."""
    try:
        about = parsed(small_text(folder / CLAIM))
        claim: Claim = from_tree(Claim, about["claim"])
        tensors = {
            "x_adv": _images([folder / _name(place) for place in range(len(about["y"]))]),
            "y": torch.tensor(about["y"], dtype=torch.int64),
            "robust": torch.tensor(about["robust"], dtype=torch.bool),
        }
        if about["digest"] != digest_of_tensors(tensors, json.dumps(about["claim"])):
            raise ValueError("they are not those that were written")
        return checked(claim, **tensors)
    except UserError:
        raise
    except Exception as error:  # on a damaged file Pillow raises nearly anything
        raise UserError(
            f"{folder} holds no adversarial images: {reason_of(error)}; expected a folder that "
            "`ard evaluate --eight-bit --save-adversarial` wrote, or FILE.adversarial.safetensors"
        ) from error


def _images(files: Sequence[Path]) -> Tensor:
    """All as the first, in size and colours, and together no more than a file of tensors may have."""
    first = _pixels(files[0])
    if len(files) * first.nbytes > LARGEST_FILE:
        raise ValueError(f"{len(files)} images of {tuple(first.shape)}: more than {LARGEST_FILE} bytes")
    images = first.new_empty(len(files), *first.shape)
    for place, file in enumerate(files):
        pixels = _pixels(file)
        if pixels.shape != first.shape:
            raise ValueError(f"{file.name} is {tuple(pixels.shape)}, {files[0].name} {tuple(first.shape)}")
        images[place] = pixels
    return images


def _pixels(file: Path) -> Tensor:
    with open_regular(file) as content, Image.open(content, formats=["PNG"]) as image:
        if image.mode not in ("L", "RGB") or max(image.size) > WIDEST:
            raise ValueError(f"{file.name} is {image.mode}, {image.size}; expected 8 bits, grey or colours")
        pixels: Any = np.array(image)
    return torch.from_numpy(pixels).view(*pixels.shape[:2], -1).permute(2, 0, 1).float() / 255


def _name(place: int) -> str:
    return f"{place:05d}.png"
