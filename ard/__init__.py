"""Adversarially robust distillation: small image classifiers that stay accurate under attack."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ard.attacks import L2, Linf
    from ard.calls.comparing import compare
    from ard.calls.evaluating import evaluate
    from ard.calls.fitting import FitResult, fit
    from ard.models import load
    from ard.training.distillation import Distillation
    from ard.training.replays import FreeDistillation
    from ard.training.step import take

__version__ = "0.1.0"
__all__ = ["L2", "Distillation", "FitResult", "FreeDistillation", "Linf", "compare", "evaluate", "fit", "load", "take"]

_HOMES = {
    "Distillation": "ard.training.distillation",
    "FitResult": "ard.calls.fitting",
    "FreeDistillation": "ard.training.replays",
    "L2": "ard.attacks",
    "Linf": "ard.attacks",
    "compare": "ard.calls.comparing",
    "evaluate": "ard.calls.evaluating",
    "fit": "ard.calls.fitting",
    "load": "ard.models",
    "take": "ard.training.step",
}
_ROOMS = ("attacks", "data", "models", "objectives")  # packages of ours that need no import of their own


def __dir__() -> list[str]:
    return sorted([*__all__, *_ROOMS, "__version__"])


def __getattr__(name: str) -> Any:
    """Import on first use: `import ard` and `ard --help` must not wait for torch and Lightning."""
    from importlib import import_module

    if name in _ROOMS:
        return import_module(f"ard.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'ard' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
