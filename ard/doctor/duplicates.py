"""Images that are in two splits: with the same pixels, or nearly the same ones, as after another encoding."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from itertools import combinations
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor

from ard.core.text import first_few
from ard.doctor.advice import Advice

EMPTY: Mapping[str, Sequence[str]] = MappingProxyType({})
NEAR = 2  # levels of 255 by which every pixel may differ
GRID = 8  # images are first compared by their means over a grid of this many fields a side
TOLERATED = 0.002  # of a split: large data sets hold some images twice, and the user cannot mend that


def shared(splits: Mapping[str, Tensor], sizes: Mapping[str, int], names: Mapping[str, Sequence[str]] = EMPTY) -> Advice:
    """How many images of one split are in another; uint8 images (n, C, H, W), perhaps the first of `sizes`.

    `names` are the files that they are in, where they are in files.
    """
    overlaps, worst = [], 0.0
    for one, other in combinations(splits, 2):
        small, large = sorted((one, other), key=lambda name: len(splits[name]))
        same, alike = duplicates(splits[small], splits[large])
        exact, near = len(same), len(alike)
        if exact or near:
            also = f" and {near} nearly" if near else ""
            told = f" ({first_few([names[small][place] for place in same + alike], 3)})" if small in names else ""
            overlaps.append(f"{exact} of {len(splits[small]):,} {small} images are in {large}{also}{told}")
            worst = max(worst, (exact + near) / len(splits[small]))
    read = [f"the first {len(images):,} of {name}" for name, images in splits.items() if len(images) < sizes[name]]
    looked = f" (looked at {', '.join(read)})" if read else ""
    message = "; ".join(overlaps) or f"none in two of {', '.join(splits)}"
    return Advice("shared images", message + looked, "error" if worst > TOLERATED else "warning" if overlaps else "ok")


def duplicates(few: Tensor, many: Tensor) -> tuple[list[int], list[int]]:
    """Which of `few` are among `many` bit for bit, and which of the others differ by no more than NEAR anywhere."""
    known = {_digest(image) for image in many}
    exact = torch.tensor([_digest(image) in known for image in few], dtype=torch.bool)
    theirs, near = _fields(many), []
    for places in (~exact).nonzero().flatten().split(256):
        block = few[places]
        distance = (theirs**2).sum(1) - 2 * _fields(block) @ theirs.T  # and |ours|², which does not change who is nearest
        nearest = many[distance.argmin(dim=1)]
        near += places[(block.int() - nearest.int()).abs().flatten(1).amax(dim=1) <= NEAR].tolist()
    return exact.nonzero().flatten().tolist(), near


def _fields(images: Tensor) -> Tensor:
    return torch.cat([F.adaptive_avg_pool2d(part.float(), GRID).mean(dim=1).flatten(1) for part in images.split(4096)])


def _digest(image: Tensor) -> bytes:
    return blake2b(image.numpy().tobytes(), digest_size=16).digest()
