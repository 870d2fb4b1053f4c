"""Evaluation: takes a model and tensors, needs no trainer, distrusts itself."""

from ard.evaluation.record import evaluate, unpack, write_record

__all__ = ["evaluate", "unpack", "write_record"]
