"""Evaluation: takes a model and tensors, needs no trainer, distrusts itself."""

from ard.bits import unpack
from ard.evaluation.record import check_suite, evaluate, write_record

__all__ = ["check_suite", "evaluate", "unpack", "write_record"]
