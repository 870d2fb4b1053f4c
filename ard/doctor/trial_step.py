"""A few real training steps in a temporary folder: losses, time and memory, and what the whole run will cost."""

import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytorch_lightning as pl
import torch
from torch.nn.utils import get_total_norm

from ard.bench.measure import peak_memory
from ard.bench.passes import Passes
from ard.core.text import duration
from ard.doctor.advice import Advice
from ard.doctor.planned_run import PlannedRun
from ard.losses import cross_entropy
from ard.training.trainer import Trainer

TRIAL_STEPS = 3  # the first one is slow: it looks for what can be folded
TRIAL_SECONDS = 25.0  # for all of them: a batch that would take longer is made smaller, and its time multiplied
TRIED = 16  # images on which that time is estimated, and the smallest batch
NO_TERMS = ("images_per_s", "attack_share", "loss", "robust_acc", "lr")  # of what a step logs
TEACHER_COST = 2  # times the cost of a student's pass: the teacher is asked, too
FULL = 0.9  # of the free memory


class Probe(pl.Callback):
    """Times steps and validation batches, and looks at losses and gradients."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.validation = 0.0
        self.gradient, self.wrong = 0.0, ""

    def on_train_batch_start(self, *_: Any) -> None:
        self.start = time.perf_counter()

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any) -> None:  # noqa: ARG002
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        self.gradient = float(get_total_norm(gradients))
        if not 0 < self.gradient < float("inf"):
            self.wrong = self.wrong or f"the gradient's norm is {self.gradient}"

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        metrics = {name.removeprefix("train/"): float(value) for name, value in trainer.callback_metrics.items()}
        self.losses = {name: value for name, value in metrics.items() if name not in NO_TERMS and "/" not in name}
        for name, value in self.losses.items():
            if not abs(value) < float("inf"):
                self.wrong = self.wrong or f"{name} is {value}"
        self.seconds.append(time.perf_counter() - self.start)  # float() above has waited for the device
        trainer.should_stop = len(self.seconds) == TRIAL_STEPS

    def on_validation_batch_start(self, *_: Any) -> None:
        self.start = time.perf_counter()

    def on_validation_batch_end(self, *hook: Any) -> None:
        outputs, batch = hook[2], hook[3]
        outputs["robust"].sum().item()  # a GPU has only then computed it
        self.validation = (time.perf_counter() - self.start) / len(batch[1])


def try_step(run: PlannedRun) -> Iterator[Advice]:
    """Steps of this very config, their memory, and the cost of the whole run."""
    whole = run.data.batch_size
    run.data.batch_size = size = affordable(run)
    part = "" if size == whole else f" (with {size} of {whole} images, for the time it takes)"
    probe, passes, device = Probe(), Passes(), run.device
    memory = peak_memory(lambda: _fit(run, [probe, passes]), device)
    step = min(probe.seconds[1:] or probe.seconds) * whole / size
    losses = ", ".join(f"{name} {value:.3g}" for name, value in probe.losses.items())
    message = f"{losses}; gradient {probe.gradient:.3g}; {duration(step)}{part}"
    yield Advice("training step", f"{probe.wrong}: {message}" if probe.wrong else message, "error" if probe.wrong else "ok")
    yield room(memory and memory * whole // size, device)
    run.data.batch_size = whole
    yield cost(run, step, probe.validation, passes)


def affordable(run: PlannedRun) -> int:
    """The batch size, or on a CPU one whose steps fit into TRIAL_SECONDS; a step of a few images is timed to estimate it."""
    if run.device.type != "cpu":
        return run.data.batch_size
    network, x, seconds = run.engine.student.eval(), torch.rand(TRIED, *run.data.input_shape), []
    for _ in range(2):
        start = time.perf_counter()
        cross_entropy(network(x), torch.zeros(TRIED, dtype=torch.long)).sum().backward()
        seconds.append(time.perf_counter() - start)
    network.zero_grad(set_to_none=True)
    an_image = TEACHER_COST * (run.engine.attack.steps + 2) * min(seconds) / TRIED
    return min(run.data.batch_size, max(TRIED, int(TRIAL_SECONDS / TRIAL_STEPS / an_image)))


def _fit(run: PlannedRun, callbacks: list[pl.Callback]) -> None:
    """Train a few steps in a temporary folder, in one process, without logger and checkpoints."""
    with TemporaryDirectory() as place:
        ours = {
            "logger": False,
            "callbacks": callbacks,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "default_root_dir": place,
            "devices": 1,
            "num_nodes": 1,
            "strategy": "auto",
            "limit_train_batches": TRIAL_STEPS,
            "limit_val_batches": 1,
            "log_every_n_steps": 1,
            "max_time": None,
        }
        Trainer(**run.options | ours).fit(run.engine, datamodule=run.data)


def room(memory: int | None, device: torch.device) -> Advice:
    """The memory that a step needs against the memory that is free."""
    if memory is None:
        return Advice("memory", "unknown: the system does not report it")
    there = torch.cuda.mem_get_info(device)[0] + memory if device.type == "cuda" else _free()
    message = f"{memory / 1e9:.2g} GB for a step" + (f", {there / 1e9:.2g} GB are free" if there else "")
    short = bool(there) and memory > FULL * there
    return Advice("memory", message + (": use a smaller batch_size" if short else ""), "error" if short else "ok")


def _free() -> int:
    """Bytes of memory that nobody uses, 0 where the system does not report it."""
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return 0


def cost(run: PlannedRun, step: float, validation: float, passes: Passes) -> Advice:
    """The passes of a step and the duration of the whole run, on one device."""
    epochs, batches = run.max_epochs, run.data.images_an_epoch // run.data.batch_size
    replays = run.engine.replays or 1
    steps, validations = batches * epochs // replays, epochs // replays
    seconds = steps * step + validations * len(run.data.splits[1]) * validation
    counted = [f"{name} {c['F']:g} F + {c['B']:g} B" for name, c in passes.counts.items() if c["F"]]
    of = f" of {', '.join(counted)} passes" if counted else ""  # the second step of an epoch is counted
    validated = f"{validations} validation{'s' * (validations != 1)}"
    message = f"{duration(seconds)}: {steps:,} step{'s' * (steps != 1)}{of}, {validated}"
    others = run.options["devices"]
    return Advice(
        "the whole run", message + (f"; on one device ({others} requested)" if others not in ("auto", 1, "1") else "")
    )
