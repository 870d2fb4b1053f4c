"""Reading a record: whole, of the right kinds, and its numbers those of its own verdicts; or an error that names it."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ard.core.bits import unpack
from ard.core.errors import UserError

Rule = Callable[[Any], bool]


def read_record(path: Path) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """A record and its verdicts, booleans (n,): right on the image; right on it and after every attack.

    Raises UserError for a file that is no whole record, or one whose accuracies are not those of its verdicts.
    """
    try:
        content = json.loads(path.read_text())
        for key, rule in RULES.items() if _at(content, "training") is None else (RULES | TRAINING).items():
            if not rule(_at(content, key)):
                raise ValueError(f"{key}: {_at(content, key)!r}")
        for name, rule in OPTIONAL_RULES.items():
            if content.get(name) is not None and not rule(content[name]):
                raise ValueError(f"{name}: {content[name]!r}")
        clean, worst = (unpack(content["bits"][kind], content["n"]) for kind in ("clean", "worst"))
        for name, bits in {"clean_acc": clean, "robust_acc": worst}.items():
            if not math.isclose(content[name], bits.mean(), abs_tol=1e-9):
                raise ValueError(f"{name} = {content[name]}, but its verdicts make {bits.mean():.6g}")
        return content, clean, worst
    except (KeyError, TypeError, ValueError, OSError, RecursionError) as error:
        reason = f"has no {error}" if isinstance(error, KeyError) else f"is damaged ({str(error)[:200]})"
        raise UserError(f"{path} {reason}; expected a record of `ard evaluate`: evaluate the weights again") from error


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**63


def _whole(value: Any) -> bool:
    return _number(value) and isinstance(value, int)


def _fraction(value: Any) -> bool:
    return _number(value) and value <= 1


def _all(**rules: Rule) -> Rule:
    """A list of mappings in which each of these keys is there and as it should be."""
    return lambda value: (
        isinstance(value, list)
        and all(isinstance(part, dict) and all(rule(part[key]) for key, rule in rules.items()) for part in value)
    )


RULES: dict[str, Rule] = {
    "suite": _text,
    "params": _whole,
    "n": lambda value: _whole(value) and value > 0,
    "split": _text,
    "threat.norm": _text,
    "threat.eps": _number,
    "clean_acc": _fraction,
    "robust_acc": _fraction,
    "attacks": _all(name=_text, accuracy=_fraction),
    "checks": _all(id=_text, verdict=_text),
    "verdict": lambda value: value in ("sound", "warnings", "unreliable"),
    "bits.clean": _text,
    "bits.worst": _text,
    "weights.sha256": _text,
    "model.class_path": _text,
    "dataset.name": _text,
    "dataset.digest": _text,
    "teacher": lambda value: value is None or _text(value),
    "training": lambda value: value is None or isinstance(value, dict),
}
TRAINING: dict[str, Rule] = {
    "training.block": lambda value: isinstance(value, dict) and all(map(_text, value)),
    "training.epochs": _number,
    "training.precision": _text,
    "training.seconds": _number,
}
OPTIONAL_RULES: dict[str, Rule] = {"autoattack_acc": _fraction}


def _at(content: Any, key: str) -> Any:
    for part in key.split("."):
        if not isinstance(content, dict) or part not in content:
            raise KeyError(key)
        content = content[part]
    return content
