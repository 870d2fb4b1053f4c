"""Records of studies that nobody ran, and what the tables say of them."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from ard.core.bits import pack

N = 500
BLOCK = {"lr": 0.1, "average": None, "monitor": "val/robust_acc"}


def first(accuracy: float) -> np.ndarray:
    """Right on the first images: two of these are nested, so their paired difference has one sign on every image."""
    return np.arange(N) < round(accuracy * N)


def drawn(accuracy: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(N) < round(accuracy * N)


def write(path: Path, clean: np.ndarray, worst: np.ndarray, **changes: Any) -> None:
    record = {
        "weights": {"path": "student.safetensors", "sha256": f"{abs(hash(str(path))):064x}"},
        "model": {"class_path": "ard.models.mobilenet.MobileNetV2", "init_args": {}},
        "dataset": {"name": "Digits", "digest": "0123456789abcdef"},
        "split": "test",
        "suite": "quick",
        "params": 12345,
        "n": len(clean),
        "threat": {"norm": "Linf", "eps": 0.15},
        "clean_acc": float(clean.mean()),
        "attacks": [{"name": name, "settings": {}, "accuracy": float(worst.mean())} for name in ("FGSM", "Odd-7")],
        "robust_acc": float(worst.mean()),
        "bits": {"clean": pack(clean), "worst": pack(worst)},
        "checks": [{"id": "V1", "verdict": "pass"}, {"id": "V4", "verdict": "pass"}],
        "verdict": "sound",
        "recipe": None,
        "teacher": None,
        "training": {"block": BLOCK, "epochs": 40, "precision": "32-true", "seconds": 72.0, "seed": 0},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**record, **changes}))


def cells(text: str, method: str) -> dict[str, str]:
    """The row of a method in the first table, by column."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return dict(zip(lines[0], next(line for line in lines if line[0] == method), strict=True))


def differences(text: str, method: str) -> list[str]:
    table = text[text.index("| Method − ") :]
    return next(line for line in table.splitlines() if line.startswith(f"| {method} |")).split(" | ")


def write_study(root: Path) -> Path:
    """A teacher, a strong distilled student and a weaker one without a teacher."""
    weights = {"path": "student.safetensors", "sha256": "f" * 64}
    write(root / "teachers/robust/evaluation.json", first(0.99), first(0.9), weights=weights)
    write(root / "ard/seed0/evaluation.json", first(0.95), first(0.8), teacher="f" * 64)
    write(root / "ard/seed0/last.evaluation.json", first(0.94), first(0.78), teacher="f" * 64)
    write(root / "pgd_at/seed0/evaluation.json", first(0.95), first(0.7))
    return root


def attack(name: str, accuracy: float, seen: int, *after: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "settings": {"steps": 20}, "accuracy": accuracy, "attacked": seen, "after": list(after), **more}


def full_record(**changes: Any) -> dict[str, Any]:
    """A record of the full suite in which no two robust numbers are alike, so that each can be looked for."""
    whole = {"group": "AutoAttack"}
    settings = {"steps": 20, "step_size": 2 / 255}
    record = {
        "schema": 2,
        "suite": "full",
        "weights": {"path": "student.safetensors", "sha256": "a" * 64},
        "model": {"class_path": "ard.models.WideResNet", "init_args": {"depth": 34, "widen": 20}},
        "dataset": {"name": "CIFAR-10", "digest": "0123456789abcdef"},
        "split": "test",
        "limit": None,
        "params": 12345,
        "n": 10000,
        "threat": {"norm": "Linf", "eps": 8 / 255},
        "clean_acc": 0.8534,
        "robust_acc": 0.5317,
        "autoattack_acc": 0.5342,
        "attacks": [
            attack("PGD-20", 0.5671, 8534, settings=settings),
            attack("APGD-CE", 0.5553, 8534, **whole),
            attack("APGD-T", 0.5349, 5553, "APGD-CE", **whole),
        ],
        "probes": [attack("PGD-20 at 2 eps", 0.2119, 8534), attack("gaussian noise", 0.7723, 8534)],
        "curve": [{"eps": k * 8 / 255, "accuracy": a} for k, a in ((0, 0.8534), (0.25, 0.79), (1, 0.5671), (4, 0.0))],
        "per_class": [
            {"class": "cat", "n": 5000, "clean_acc": 0.7412, "robust_acc": 0.3129},
            {"class": "a|b", "n": 5000, "clean_acc": 0.9656, "robust_acc": 0.7505},
        ],
        "checks": [
            {"id": "V1", "value": 0.031, "threshold": 0.031, "verdict": "pass", "reason": "the largest perturbation"},
            {"id": "O9", "value": None, "threshold": None, "verdict": "skipped", "reason": "no curve | asked for"},
        ],
        "verdict": "sound",
        "seconds": 12.3,
        "images_per_s": 33.1,
        "notes": ["3 classes: the targeted parts of AutoAttack are left out"],
        "seed": 7,
        "versions": {"ard": "0.1.0", "torch": "2.15.0"},
        "commit": "7e6989e6cabf",
        "additional_data": False,
        "recipe": {"class_path": "ard.objectives.rslad.RSLAD"},
        "teacher": "f" * 64,
        "training": {
            **{"block": BLOCK, "epochs": 40, "precision": "32-true", "seconds": 72.0, "seed": 3, "epoch": 38},
            **{"selected_by": "val/robust_acc", "config_digest": "d265fe90f2521d87"},
        },
    }
    return {**record, **changes}


def unreliable(**changes: Any) -> dict[str, Any]:
    """The same record with two failed checks."""
    reasons = {"O10": "random search beats the gradient", "O6": "more steps do not hurt"}
    checks = [{"id": k, "value": 2, "threshold": 1, "verdict": "fail", "reason": why} for k, why in reasons.items()]
    return full_record(**{"verdict": "unreliable", "checks": checks, **changes})
