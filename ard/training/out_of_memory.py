"""Out of memory, in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytorch_lightning as pl
import torch

from ard.core.errors import UserError
from ard.training.engine import Engine


@contextmanager
def explain_out_of_memory(trainer: pl.Trainer, engine: Engine) -> Iterator[None]:
    """Raises UserError where memory ran out: what the run asked for, and what to change; nothing is changed for it."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        known = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not known and "DefaultCPUAllocator" not in str(error):  # which has no exception of its own
            raise
        raise UserError(_message(trainer, engine)) from error


def _message(trainer: pl.Trainer, engine: Engine) -> str:
    size, steps = engine.data.batch_size, engine.attack.steps
    attack = f"{type(engine.attack).__name__} of {steps} step{'s' * (steps != 1)}"
    if engine.replays:
        attack = f"{engine.replays} replays"
    place = f"{trainer.strategy.root_device} is out of memory in step {trainer.global_step}"
    ways = [] if "mixed" in str(trainer.precision) else ["--precision bf16-mixed"]
    if trainer.strategy.root_device.type == "cuda" and engine.cuda_graph:
        ways.append("--model.cuda_graph false (graphs hold memory of their own)")
    if half := size // 2 // trainer.world_size * trainer.world_size:
        ways.append(f"--batch-size {half} (another run: scale the learning rate with it)")
    return (
        f"{place}: batch_size {size} on {trainer.world_size} device(s), {attack}, precision {trainer.precision}; "
        f"try {', or '.join([*ways, 'more devices'])}"
    )
