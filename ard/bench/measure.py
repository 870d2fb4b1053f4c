"""Interleaved measurement: every row once a round, ratios within a round, medians over rounds."""

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

Ratio = dict[str, float]


def rounds(rows: Sequence[tuple[str, Callable[[int], Any]]], count: int, device: torch.device) -> dict[str, list[float]]:
    """Process seconds of row(round), rows interleaved, after one round that is thrown away; on CUDA wall seconds.

    Process seconds are what other jobs on the machine disturb least; with fixed threads their ratios are those of time.
    """
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    seconds: dict[str, list[float]] = {name: [] for name, _ in rows}
    for turn in range(count + 1):
        for name, row in rows:
            start = clock()
            row(turn)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn:
                seconds[name].append(clock() - start)
    return seconds


def ratio(slow: Sequence[float], fast: Sequence[float]) -> Ratio:
    """How many times faster, round by round: the median, the least and the most."""
    ratios = [a / b for a, b in zip(slow, fast, strict=True)]
    return {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}


def ceilings(device: torch.device) -> dict[str, float]:
    """FLOP a second of a large matrix product and of a 3×3 convolution, in float32 and bfloat16: nothing goes faster."""
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.randn(2048, 2048, device=device, dtype=dtype)
        x = torch.randn(128, 128, 16, 16, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
        conv = torch.nn.Conv2d(128, 128, 3, padding=1, bias=False, device=device, dtype=dtype)
        conv = conv.to(memory_format=torch.channels_last)
        name = str(dtype).removeprefix("torch.")
        found[f"gemm {name}"] = _rate(partial(torch.matmul, a, a), 2 * 2048**3, device)
        found[f"conv {name}"] = _rate(partial(conv, x), 2 * 128 * 128 * 9 * x[:, 0].numel(), device)
    return found


@torch.no_grad()
def _rate(call: Callable[[], Tensor], work: int, device: torch.device) -> float:
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return work / best
