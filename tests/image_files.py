"""Small data sets on disk: archives in CIFAR's format, folders of PNGs."""

import hashlib
import pickle
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision import datasets

BATCHES = {"CIFAR10": ("data_batch_1", "test_batch", "labels"), "CIFAR100": ("train", "test", "fine_labels")}
Arrays = dict[bool, tuple[np.ndarray, list[int]]]  # by train: pixels (n, 3, 32, 32), labels


def fake_cifar(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, per_class: int = 4) -> tuple[Path, Arrays]:
    """An archive that torchvision's class `name` takes for the real one, without its network; and its content."""
    source, (train, test, key) = getattr(datasets, name), BATCHES[name]
    folder.mkdir(parents=True, exist_ok=True)
    classes = 100 if name == "CIFAR100" else 10
    rng = np.random.default_rng(0)
    labels = list(range(classes)) * per_class
    arrays = {split: (rng.integers(0, 256, (len(labels), 3, 32, 32), np.uint8), labels) for split in (True, False)}
    entries = {
        train: {"data": arrays[True][0].reshape(-1, 3072), key: labels},
        test: {"data": arrays[False][0].reshape(-1, 3072), key: labels},
        source.meta["filename"]: {source.meta["key"]: [str(label) for label in range(classes)]},
    }
    with tarfile.open(folder / source.filename, "w:gz") as archive:
        for file, entry in entries.items():
            (folder / file).write_bytes(pickle.dumps(entry))
            archive.add(folder / file, f"{source.base_folder}/{file}")
    monkeypatch.setattr(source, "train_list", [[train, md5(folder / train)]])
    monkeypatch.setattr(source, "test_list", [[test, md5(folder / test)]])
    monkeypatch.setattr(source, "meta", source.meta | {"md5": md5(folder / source.meta["filename"])})
    monkeypatch.setattr(source, "tgz_md5", md5(folder / source.filename))
    monkeypatch.setattr(source, "url", f"http://127.0.0.1:9/{source.filename}")
    return folder / source.filename, arrays


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def image_folder(root: Path, classes: Sequence[str] = ("cat", "dog", "owl"), per_class: int = 8, side: int = 8) -> Path:
    """Random PNGs of side×side under root/train and root/test, half as many for test."""
    rng = np.random.default_rng(0)
    for split, n in (("train", per_class), ("test", per_class // 2)):
        for name in classes:
            (root / split / name).mkdir(parents=True)
            for i in range(n):
                pixels = rng.integers(0, 256, (side, side, 3), np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i}.png")
    return root
