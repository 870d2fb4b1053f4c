"""Lightning's trainer with our defaults; `precision: auto` is the fastest that training was shown to bear."""

from typing import Any, Literal

import pytorch_lightning as pl
import torch

TRAINER_DEFAULTS = {
    "inference_mode": False,  # attacks in validation need gradients
    "use_distributed_sampler": False,  # our loader splits the global batch itself
    "num_sanity_val_steps": 0,
    "log_every_n_steps": 10,
    "enable_model_summary": False,
}

Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed", "64-true"]


class Trainer(pl.Trainer):
    """pl.Trainer whose `precision` is by default bf16-mixed where the hardware computes in bfloat16, else 32-true."""

    def __init__(self, *, precision: Precision | None = "auto", accelerator: str = "auto", **options: Any) -> None:
        if precision is None or precision == "auto":
            precision = "bf16-mixed" if has_bfloat16(device_type(accelerator)) else "32-true"
        super().__init__(precision=precision, accelerator=accelerator, **options)


def device_type(accelerator: str) -> str:
    """The type of device that an accelerator stands for on this machine."""
    if accelerator in ("auto", "gpu"):
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    return accelerator


def has_bfloat16(device_type: str) -> bool:
    """Whether the hardware multiplies bfloat16 itself; emulated, it is slower than float32."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device_type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
