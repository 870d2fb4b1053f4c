"""What an evaluation leaves to be looked at, beyond its record: the confusion of classes, and a few images as they were
attacked.

Numpy alone: a page is made without torch. Images are kept as 8 bits, and what an attack added to one as whole 127ths of its
largest change, rounded towards 0, so that it stays in every ball that it was in.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ard.artifacts.record import Record
from ard.artifacts.typed_json import parsed, reason_of
from ard.core.errors import UserError
from ard.core.files import existing, readable, write_whole

MOST_SHOWN = 24  # images
LARGEST = 2**26  # bytes of a file
STEPS = 127  # from no change to the largest
ABOUT = "shown"  # one key alone: safetensors writes several in any order
STORED_PARTS = {  # of each tensor in the file: its kind and its dimensions; counts are of the smallest kind that holds them
    "confusion_clean": ("u", 2),
    "confusion_attacked": ("u", 2),
    "index": ("i", 1),
    "y": ("i", 1),
    "clean": ("u", 4),
    "steps": ("i", 4),
    "largest": ("f", 1),
    "clean_probabilities": ("f", 2),
    "attacked_probabilities": ("f", 2),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """The answers to all images as two (classes, classes) tables of counts, and k <= 24 of the images.

    Rows of a table are true classes, columns are answers: to the clean images, and to the worst image of each, so the sums
    of the diagonals are the clean and the robust accuracy times n. `index` (k,) are the places of the chosen images among
    those evaluated, `y` (k,) their classes, `clean` (k, C, H, W) uint8, `perturbation` (k, C, H, W) float32 in units of
    pixels in [0, 1], the probabilities (k, classes) float32. `weights` is the SHA-256 of the evaluated file, `dataset` the
    digest of the evaluated images, `key` that of all that the verdicts depend on, as the record has it.
    """

    confusion_clean: np.ndarray
    confusion_attacked: np.ndarray
    index: np.ndarray
    y: np.ndarray
    clean: np.ndarray
    perturbation: np.ndarray
    clean_probabilities: np.ndarray
    attacked_probabilities: np.ndarray
    weights: str
    dataset: str
    key: str | None = None

    @property
    def attacked(self) -> np.ndarray:
        """(k, C, H, W) float32 in [0, 1]: the images as the attack left them."""
        return np.clip(self.clean.astype(np.float32) / 255 + self.perturbation, 0, 1)

    def is_of(self, record: Record) -> bool:
        """Whether the evaluation that left this record left it: a later one that was killed may have replaced it."""
        same = (self.weights, self.dataset) == (record.weights.sha256, record.dataset.digest)
        return same and self.key in (None, record.key) and int(self.confusion_clean.sum()) == record.n


def write_shown(path: Path, shown: Shown, *, through: Path | None = None) -> None:
    """Write the file, whole or not at all; `through` is as `write_whole` has it."""
    largest = np.abs(shown.perturbation).max(axis=(1, 2, 3), initial=0).astype(np.float32)
    units = np.where(largest > 0, largest, 1)[:, None, None, None]
    tensors = {
        "confusion_clean": _small(shown.confusion_clean),
        "confusion_attacked": _small(shown.confusion_attacked),
        "index": shown.index.astype(np.int64),
        "y": shown.y.astype(np.int64),
        "clean": shown.clean.astype(np.uint8),
        "steps": np.trunc(shown.perturbation / units * STEPS).astype(np.int8),
        "largest": largest,
        "clean_probabilities": shown.clean_probabilities.astype(np.float32),
        "attacked_probabilities": shown.attacked_probabilities.astype(np.float32),
    }
    tensors = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    about = {"weights": shown.weights, "dataset": shown.dataset, "key": shown.key, "digest": _digest(tensors, shown)}
    write_whole(path, save(tensors, {ABOUT: json.dumps(about)}), through=through)


def read_shown(path: Path) -> Shown:
    """What was written; raises UserError for a file that is not there, damaged, changed, or another."""
    existing(path, "what `ard evaluate` writes beside a record")
    try:
        return _read(path)
    except UserError:
        raise
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} ({path.stat().st_size} bytes) has nothing to show: {reason_of(error)}; expected a file that "
            "`ard evaluate` writes beside a record: evaluate the weights again"
        ) from error


def _read(path: Path) -> Shown:
    if path.stat().st_size > LARGEST:
        raise ValueError(f"expected at most {LARGEST} bytes")
    with readable(path), safe_open(path, "np") as content:
        about = parsed((content.metadata() or {})[ABOUT])
        if missing := set(STORED_PARTS) - set(content.keys()):
            raise KeyError(", ".join(sorted(missing)))
        tensors = {name: content.get_tensor(name) for name in STORED_PARTS}
    _check(tensors)
    shown = Shown(
        confusion_clean=tensors["confusion_clean"].astype(np.int64),
        confusion_attacked=tensors["confusion_attacked"].astype(np.int64),
        perturbation=tensors["steps"].astype(np.float32) * (tensors["largest"] / STEPS)[:, None, None, None],
        weights=about["weights"],
        dataset=about["dataset"],
        key=about["key"],
        **{name: tensors[name] for name in ("index", "y", "clean", "clean_probabilities", "attacked_probabilities")},
    )
    if about["digest"] != _digest(tensors, shown):
        raise ValueError("it is not what was written")
    return shown


def _check(tensors: Mapping[str, np.ndarray]) -> None:
    """Raises ValueError where kinds, lengths or classes do not belong together, or a number is none."""
    k, classes = len(tensors["index"]), len(tensors["confusion_clean"])
    images, answers = (k, *tensors["clean"].shape[1:]), (k, classes)
    shapes = {
        "confusion_clean": (classes, classes),
        "confusion_attacked": (classes, classes),
        "clean": images,
        "steps": images,
        "clean_probabilities": answers,
        "attacked_probabilities": answers,
    }
    fits = all(tensors[name].shape == shapes.get(name, (k,)) for name in STORED_PARTS)
    fits = fits and all((tensors[name].dtype.kind, tensors[name].ndim) == STORED_PARTS[name] for name in STORED_PARTS)
    if not fits or k > MOST_SHOWN or not np.isin(tensors["y"], np.arange(classes)).all():
        raise ValueError("its parts do not belong together")
    if not all(np.isfinite(tensors[name]).all() for name in STORED_PARTS):
        raise ValueError("NaN is no number")


def _small(counts: np.ndarray) -> np.ndarray:
    return counts.astype(np.min_scalar_type(int(counts.max(initial=0))))


def _digest(tensors: Mapping[str, np.ndarray], shown: Shown) -> str:
    """SHA-256 over names, kinds, shapes and numbers, and over what they are of."""
    digest = hashlib.sha256(f"{shown.weights} {shown.dataset} {shown.key}".encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {value.shape}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()
