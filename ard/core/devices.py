"""The device that numbers are computed on, and how records name it."""

import torch


def device_name(device: torch.device) -> str:
    """The type of the device and, of a GPU, the model: "cpu", "cuda: NVIDIA H100 80GB HBM3"."""
    return f"cuda: {torch.cuda.get_device_name(device)}" if device.type == "cuda" else device.type


def take_gpu(place: int) -> None:
    """Make "cuda" in this process the GPU at `place`, counted round and round; nothing where there are fewer than two."""
    if (count := torch.cuda.device_count()) > 1:
        torch.cuda.set_device(place % count)


def gpu_or_cpu() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
