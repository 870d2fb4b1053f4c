"""Evaluation: takes a model and tensors, needs no trainer, distrusts itself."""

from ard.core.bits import unpack
from ard.evaluation.blocks import Store
from ard.evaluation.evaluation import Evaluation, evaluate
from ard.evaluation.suites import Given, check_suite

__all__ = ["Evaluation", "Given", "Store", "check_suite", "evaluate", "unpack"]
