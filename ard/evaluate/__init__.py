"""`ard evaluate` and `ard verify`: files in, evidence out."""

from ard.evaluate.adversarial import verify_file
from ard.evaluate.command import evaluate_file
from ard.evaluate.former import record_path

__all__ = ["evaluate_file", "record_path", "verify_file"]
