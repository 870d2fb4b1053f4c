"""How many forward and backward passes a training step makes through each network: the cost of a method, free of noise."""

from collections import Counter
from typing import Any

import pytorch_lightning as pl
from torch import Tensor, nn

from ard.models import Frozen
from ard.objectives.base import Objective


class Passes(pl.Callback):
    """Counts the second batch of every epoch: {F, B} of each network."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = {}
        self.handles: list[Any] = []

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        if batch_idx != 1:
            return
        engine: Any = pl_module
        networks = {"student": [engine.student], "teacher": list(engine.teachers().values())}
        for part in engine.objective.parts():
            networks |= {name: [own] for name, own in part.named_children() if not isinstance(own, (Objective, Frozen))}
        self.handles = [
            network.register_forward_hook(self._counting(name)) for name, members in networks.items() for network in members
        ]

    def _counting(self, name: str) -> Any:
        count = self.counts.setdefault(name, Counter(F=0, B=0))

        def note(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
            count["F"] += 1
            if output.requires_grad:
                output.register_hook(lambda _: count.update(B=1))

        return note

    def on_train_batch_end(self, *_: Any) -> None:
        for handle in self.handles:
            handle.remove()
        self.handles = []
