"""Evaluation: takes a model and tensors, needs no trainer, distrusts itself."""

from ard.bits import unpack
from ard.evaluation.record import evaluate, write_record

__all__ = ["evaluate", "unpack", "write_record"]
