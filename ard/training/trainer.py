"""Lightning's trainer with our defaults; `precision: auto` is the fastest that does not harm training."""

from collections.abc import Mapping
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy

from ard.core.cores import usable_cores
from ard.core.errors import UserError

TRAINER_DEFAULTS = {
    "inference_mode": False,  # attacks in validation need gradients
    "use_distributed_sampler": False,  # our loader splits the global batch itself
    "num_sanity_val_steps": 0,
    "log_every_n_steps": 10,
    "enable_model_summary": False,
}

Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]

# Options of Lightning with which schedule, selection, guards or an exact resume would silently be something else.
FIXED = {
    "max_steps": (-1, "--epochs N says how long a run is"),
    "accumulate_grad_batches": (1, "guards and objectives count whole batches; use a smaller batch_size or more devices"),
    "val_check_interval": (1.0, "what is validated is the epoch that is saved"),
    "overfit_batches": (0.0, "--trainer.limit_train_batches N trains on few"),
    "num_sanity_val_steps": (0, "`ard doctor` tries every part before a run"),
}


class Trainer(pl.Trainer):
    """pl.Trainer whose `precision` is by default bf16-mixed where the hardware computes in bfloat16, else 32-true.

    Args:
        precision: auto is bf16-mixed where the hardware computes in bfloat16, else 32-true.
        accelerator: auto, cpu, gpu or mps.

    On CUDA cuDNN tries its algorithms (`benchmark`), unless `benchmark: false` or `deterministic: true` is asked for.
    """

    def __init__(self, *, precision: Precision | None = "auto", accelerator: str = "auto", **options: Any) -> None:
        if precision is None or precision == "auto":
            precision = "bf16-mixed" if has_bfloat16(device_type(accelerator)) else "32-true"
        check_processes(options.get("devices", "auto"), accelerator)
        if options.get("benchmark") is None and not options.get("deterministic") and device_type(accelerator) == "cuda":
            options["benchmark"] = True  # every batch of a run has one shape, so that cuDNN's trials are soon paid back
        super().__init__(precision=precision, accelerator=accelerator, **options)
        # what a run holds cannot be sent to such processes
        spawns = getattr(self.strategy, "_start_method", None) == "spawn"
        if spawns or type(self.strategy) not in (SingleDeviceStrategy, DDPStrategy):  # others shard weights or checkpoints
            raise UserError(f"strategy = {options['strategy']!r}: expected auto or ddp")
        self._check_started()

    def _check_started(self) -> None:
        """Raises UserError where a launcher, such as srun, started more or fewer processes than devices are asked for."""
        if self.world_size != (wanted := self.num_devices * self.num_nodes):
            raise UserError(
                f"--devices {self.num_devices} on {self.num_nodes} node(s) are {wanted} processes, but the launcher started "
                f"{self.world_size}: expected `srun --ntasks-per-node={self.num_devices}` in a job of SLURM, or --devices 1"
            )


def check_options(options: Mapping[str, Any]) -> None:
    """Raises UserError for options of the trainer that would silently change what a run means."""
    for name, (expected, instead) in FIXED.items():
        value = options[name]
        is_count = isinstance(value, int) and isinstance(expected, float) and value != 0  # 1 is a batch, 1.0 an epoch
        if value not in (expected, None) or is_count:
            raise UserError(f"trainer.{name} = {value}: expected {expected}: {instead}")
    if options["max_epochs"] is None or options["max_epochs"] < 0:  # Lightning would make 1,000 of none
        raise UserError(f"trainer.max_epochs = {options['max_epochs']}: expected a number of epochs: --epochs N")
    if options["log_every_n_steps"] == 0:
        raise UserError("trainer.log_every_n_steps = 0: expected 1 or more")


def device_type(accelerator: str) -> str:
    """The type of device that an accelerator stands for on this machine."""
    if accelerator in ("auto", "gpu"):
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    return accelerator


def check_processes(devices: Any, accelerator: str) -> None:
    """Raises UserError where GPUs were meant and none is seen: named, or more processes on the CPU than it has cores."""
    if device_type(accelerator) != "cpu":
        return
    most, asked = max(2, usable_cores()), str(devices)  # two, so that a run of several processes can be tried anywhere
    if accelerator == "gpu" or (asked not in ("auto", "-1") and not (asked.isdigit() and int(asked))):
        raise UserError(
            f"--devices {devices}, accelerator {accelerator}: no GPU is seen here; expected the accelerator auto and 1 to "
            f"{most} processes, or a machine with GPUs"
        )
    if asked.isdigit() and int(asked) > most:
        raise UserError(
            f"--devices {devices}: no GPU is seen here, and this CPU has {usable_cores()} cores for as many processes; "
            f"expected at most {most}, or a machine with GPUs"
        )


def waits_for_all(trainer: pl.Trainer) -> bool:
    """Whether several processes wait for the gradient of every parameter, also of one that has none."""
    return trainer.world_size > 1 and not getattr(trainer.strategy, "_ddp_kwargs", {}).get("find_unused_parameters")


def has_bfloat16(device_type: str) -> bool:
    """Whether the hardware multiplies bfloat16 itself; emulated, it is slower than float32."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device_type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
