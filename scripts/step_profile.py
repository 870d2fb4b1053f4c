#!/usr/bin/env python3
"""Where the CPU time of the shipped MobileNetV2 step goes, by kind of operation: step_profile.py [WEIGHTS of `ard bench`].

Shares of one step, by torch's profiler: other programs on the machine change them little.
"""

import json
import sys
from collections import Counter
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from ard.bench.benchmark import conditions
from ard.bench.levers import measured_rows
from ard.bench.measure import huge_pages
from ard.bench.networks import Trained
from ard.bench.timed_step import TimedStep

RECORD = Path(__file__).resolve().parents[1] / "docs" / "results" / "benchmark" / "step-profile.json"
LEVERS = {"with bfloat16": "+ bfloat16: the shipped default", "without bfloat16": "+ huge pages: shipped, without bfloat16"}
BATCH, STEPS = 64, 10
KINDS = {
    "clamp_min": "ReLU",
    "threshold_backward": "ReLU's gradient",
    "copy_": "casts and copies",
    "native_batch_norm": "BatchNorm",
    "native_batch_norm_backward": "BatchNorm",
}


def kind_of(event: object) -> str:
    """Convolutions by their kernel, other operations by name."""
    name = event.key.removeprefix("aten::")  # type: ignore[attr-defined]
    if name not in ("mkldnn_convolution", "convolution_backward"):
        return KINDS.get(name, "all else")
    kernels = [shape for shape in event.input_shapes if len(shape) == 4 and shape[2] == shape[3] <= 3]  # type: ignore[attr-defined]
    _, inputs, size, _ = kernels[-1]
    return "1×1 convolutions" if size == 1 else "depthwise convolutions" if inputs == 1 else "3×3 convolution"


def shares(lever: str, networks: Trained) -> dict[str, float]:
    """Share of the self CPU time of a step by kind, largest first."""
    row = next(row for row in measured_rows() if (row.group, row.lever) == ("ARD, MobileNetV2", lever))
    step = TimedStep(row, batch_size=BATCH, network=networks, steps=STEPS, device=torch.device("cpu"))
    huge_pages(row.huge_pages)
    step(0)
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as seen:
        step(1)
    spent: Counter[str] = Counter()
    for event in seen.key_averages(group_by_input_shape=True):
        spent[kind_of(event)] += event.self_cpu_time_total
    return {kind: round(time / spent.total(), 4) for kind, time in spent.most_common()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    networks = Trained([Path(name) for name in sys.argv[1:]], torch.device("cpu"))
    made = {**conditions(torch.device("cpu")), "batch_size": BATCH, "pgd_steps": STEPS, "trained": networks.about}
    made["shares"] = {name: shares(lever, networks) for name, lever in LEVERS.items()}
    RECORD.write_text(json.dumps(made, indent=1) + "\n")
