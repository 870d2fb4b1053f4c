"""Interleaved measurement: every row once a round, ratios within a round; and what the machine can do at most."""

import ctypes
import re
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ard.bench.timed_step import TimedStep

SET_THP_DISABLE = 41  # prctl(2)

Ratio = dict[str, float]
Work = tuple[Callable[[], Tensor], int]  # a call, and its floating point operations
Seconds = dict[str, list[float]]  # `step`, `attack` and `wall`, a number a round


def rounds(rows: Sequence[TimedStep], count: int) -> list[Seconds]:
    """Seconds of every step, rows interleaved, after one round that is not counted; `wall` beside process seconds."""
    seconds_of_rows: list[Seconds] = [{"step": [], "attack": [], "wall": []} for _ in rows]
    for turn in range(count + 1):
        for row, seconds in zip(rows, seconds_of_rows, strict=True):
            huge_pages(row.row.huge_pages)
            row.watch.seconds, wall, start = 0.0, time.perf_counter(), row.watch.now()
            row(turn)
            now = row.watch.now()
            if turn:
                seconds["step"].append((now - start) / row.count)
                seconds["attack"].append(row.watch.seconds / row.count)
                seconds["wall"].append((time.perf_counter() - wall) / row.count)
    return seconds_of_rows


def huge_pages(wanted: bool) -> None:
    """Whether this process gets huge pages where torch asks for them; the system must leave it to those who ask."""
    asked = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if asked.exists() and "[madvise]" in asked.read_text(encoding="utf-8"):
        ctypes.CDLL(None).prctl(SET_THP_DISABLE, 0 if wanted else 1, 0, 0, 0)


def ratio(slow: Sequence[float], fast: Sequence[float]) -> Ratio:
    """How many times faster, round by round: the median, the least and the most."""
    ratios = [a / b for a, b in zip(slow, fast, strict=True)]
    return {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}


def peak_memory(call: Callable[[], Any], device: torch.device) -> int | None:
    """Bytes that call() needed on top of what was held before; None where the system does not report it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what earlier rows freed goes back to the system
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak starts anew
        before = _held("VmRSS")
        call()
        return _held("VmHWM") - before
    except (OSError, AttributeError, TypeError):  # TypeError: on Windows a library has a name
        return None


def _held(field: str) -> int:
    kilobytes = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    if kilobytes is None:
        raise OSError(f"no {field} in /proc/self/status")
    return int(kilobytes[1]) * 1024


def ceilings(device: torch.device) -> dict[str, float]:
    """FLOP a second of a large matrix product and of a 3×3 convolution, in float32 and bfloat16: nothing goes faster.

    On CUDA both are larger, so that launching them costs nothing, and float32 is TF32, as it is in convolutions by default.
    """
    speeds = {}
    edges, batches = ([8192], [1024]) if device.type == "cuda" else ([256, 512, 1024, 2048], [8, 32, 128])
    for dtype in (torch.float32, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        speeds[f"gemm {name}"] = _rate(partial(_product, device=device, dtype=dtype), edges, device)
        speeds[f"conv {name}"] = _rate(partial(_convolution, device=device, dtype=dtype), batches, device)
    return speeds


def _product(edge: int, device: torch.device, dtype: torch.dtype) -> Work:
    a = torch.randn(edge, edge, device=device, dtype=dtype)

    def call() -> Tensor:
        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
        try:
            return a @ a
        finally:
            torch.backends.cuda.matmul.allow_tf32 = before

    return call, 2 * edge**3


def _convolution(images: int, device: torch.device, dtype: torch.dtype) -> Work:
    x = torch.randn(images, 128, 16, 16, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
    conv = torch.nn.Conv2d(128, 128, 3, padding=1, bias=False, device=device, dtype=dtype)
    return partial(conv.to(memory_format=torch.channels_last), x), 2 * 128 * 128 * 9 * x[:, 0].numel()


def _rate(work_of: Callable[[int], Work], sizes: Sequence[int], device: torch.device) -> float:
    """FLOP a second at the last size, or at the first that takes a tenth of a second: without instructions for bfloat16
    a processor is some 50 times slower in it, and large ones would take it minutes."""
    for size in sizes:
        call, flops = work_of(size)
        seconds = _fastest(call, device)
        if seconds > 0.1:
            break
    return flops / seconds


@torch.no_grad()
def _fastest(call: Callable[[], Tensor], device: torch.device) -> float:
    """The best of several, in wall seconds: another job cannot make it too fast."""
    best, enough = float("inf"), time.perf_counter() + 1
    for _ in range(20):
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
        if time.perf_counter() > enough:
            break
    return best
