"""What the framework itself costs: our training loop around a network of next to nothing, against a plain loop."""

import logging
import statistics
import tempfile
import time
import warnings
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ard.data import DataModule, to_pixels
from ard.data.loading import Images, MemoryImages
from ard.objectives.natural import Natural
from ard.training.distillation import Distillation

BATCH, STEPS = 16, 200


class Nothing(nn.Sequential):
    """One linear layer."""

    def __init__(self, *, num_classes: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, num_classes))


class NoiseImages(DataModule):
    """Random images of 8×8, enough for `STEPS` batches."""

    classes = ("a", "b")
    input_shape = (1, 8, 8)

    def __init__(self) -> None:
        super().__init__(batch_size=BATCH, val_size=2, crop_padding=0, flip=False, workers=0, seed=0, split_seed=0)

    def training_images(self) -> Images:
        pixels = torch.randint(256, (BATCH * STEPS + 2, 1, 8, 8), dtype=torch.uint8)
        return MemoryImages(pixels, torch.arange(len(pixels)) % 2)

    def test_images(self) -> Images:
        return self.training_images()


def overhead(count: int) -> dict[str, Any]:
    """Milliseconds a step of our loop and of a plain one, interleaved, medians; clean training of one linear layer."""
    ours, plain = [], []
    for _ in range(count + 1):
        ours.append(_ours())
        plain.append(_plain())
    milliseconds = [1000 * statistics.median(seconds[1:]) / STEPS for seconds in (ours, plain)]
    return {
        "steps": STEPS,
        "ours_ms": milliseconds[0],
        "plain_loop_ms": milliseconds[1],
        "overhead_ms": milliseconds[0] - milliseconds[1],
    }


def _ours() -> float:
    engine = Distillation(student=Nothing, objective=Natural(), num_classes=2)
    clock = _Clock()
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as directory:
        warnings.simplefilter("ignore")
        pl.Trainer(
            max_epochs=1,
            accelerator="cpu",
            default_root_dir=directory,
            limit_val_batches=0,
            callbacks=[clock],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        ).fit(engine, NoiseImages())
    return clock.seconds


def _plain() -> float:
    data, network = NoiseImages(), Nothing(num_classes=2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    loader = data.train_dataloader()
    start = time.perf_counter()
    for images, y in loader:
        _descend(network, optimizer, to_pixels(images), y)
    return time.perf_counter() - start


def _descend(network: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    optimizer.zero_grad()
    F.cross_entropy(network(x), y).backward()
    optimizer.step()


class _Clock(pl.Callback):
    def on_train_start(self, *_: Any) -> None:
        self.start = time.perf_counter()

    def on_train_end(self, *_: Any) -> None:
        self.seconds = time.perf_counter() - self.start


logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
