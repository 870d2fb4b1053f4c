"""Evaluation: measures the robust accuracy of a model on images in memory, and checks whether that number is sound."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ard.core.bits import unpack
    from ard.evaluation.blocks import Store
    from ard.evaluation.evaluation import Evaluation, evaluate_images
    from ard.evaluation.suites import Given, check_suite

__all__ = ["Evaluation", "Given", "Store", "check_suite", "evaluate_images", "unpack"]

_MODULES = {
    "Evaluation": "ard.evaluation.evaluation",
    "evaluate_images": "ard.evaluation.evaluation",
    "Given": "ard.evaluation.suites",
    "check_suite": "ard.evaluation.suites",
    "Store": "ard.evaluation.blocks",
    "unpack": "ard.core.bits",
}


def __getattr__(name: str) -> Any:
    """Import on first use: a request is read, and refused, without torch."""
    if name not in _MODULES:
        raise AttributeError(f"module 'ard.evaluation' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
