"""`ard bench`: our training step against the released ones, on this machine."""

import platform
import re
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from ard.bench.law import cost_laws
from ard.bench.levers import BenchRow, measured_rows
from ard.bench.measure import Seconds, ceilings, huge_pages, peak_memory, ratio, rounds
from ard.bench.networks import NetworkNamed, Trained, fresh
from ard.bench.overhead import overhead
from ard.bench.timed_step import TimedStep
from ard.core.devices import gpu_or_cpu
from ard.core.errors import UserError
from ard.core.flops import count_flops
from ard.core.terminal import say

HALF_A_STEP = 1 / 255
LAWS, OVERHEAD = "cost over steps and batch size", "overhead of the loop"  # measured after the groups, by name like them
COUNTED_IMAGES = 8  # images, when operations are counted: their number is proportional to the batch


def benchmark(
    *,
    batch_size: int = 128,
    steps: int = 10,
    count: int = 5,
    only: str = "",
    onto: dict[str, Any] | None = None,
    files: Sequence[Path] = (),
    keep: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """Time every row of the groups whose name contains `only`, or is it, `count` interleaved rounds, and return the record.

    The other groups are those of `onto`, a record made under the same conditions; raises UserError where they were others.
    `files` hold trained networks for the rows that are measured on such; those without one are trained for a moment.
    `keep` is given the record after each group: an hour's work is not lost where the last minute fails.
    """
    parts = [*_groups(), LAWS, OVERHEAD]
    chosen = [only] if only in parts else [part for part in parts if only in part]
    if not chosen:
        raise UserError(f"--only {only}: no such group; expected a part of {'; '.join(parts)}")
    device = gpu_or_cpu()
    trained = Trained(files, device)
    made = conditions(device) | {"batch_size": batch_size, "pgd_steps": steps, "rounds": count, "trained": trained.about}
    record = onto or {**made, "rows": [], "ceilings_flops": {}, "cost_laws": None, "overhead": None}
    for key, value in made.items():
        if record.get(key) != value:
            raise UserError(
                f"the record there has {key} {record.get(key)}, here it is {value}: expected the same, or another --out"
            )
    say(f"{made['device']}, {made['threads']} threads, torch {made['torch']}", error=True)
    for part in chosen:
        if part == LAWS:
            new = {"cost_laws": cost_laws(trained, batch_size=batch_size, steps=steps, count=3, device=device)}
        elif part == OVERHEAD:
            new = {"overhead": overhead(count)}
        else:
            new = _with_group(record, part, trained, batch_size, steps, count, device)
        record = {**record, **new}
        keep(record)
    return record


def _with_group(
    record: dict[str, Any], group: str, trained: Trained, batch_size: int, steps: int, count: int, device: torch.device
) -> dict[str, Any]:
    """The record's rows and ceilings with this group, in the order of the groups."""
    members, limits = _groups()[group], record["ceilings_flops"]
    say(f"{group}: {len(members)} rows, {count + 1} rounds", error=True)
    rates = ceilings(device).items()
    rows = {name: [row for row in record["rows"] if row["group"] == name] for name in _groups()}
    rows[group] = _group(members, trained, batch_size, steps, count, device)
    return {
        "ceilings_flops": {name: max(rate, limits.get(name, 0.0)) for name, rate in rates},  # the quietest moment counts
        "rows": [row for found in rows.values() for row in found],
    }


def conditions(device: torch.device) -> dict[str, Any]:
    """What a measurement depends on besides what is measured."""
    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
        "clock": "wall" if device.type == "cuda" else "process",
        "torch": torch.__version__,
    }


def _groups() -> dict[str, list[BenchRow]]:
    rows = measured_rows()
    return {group: [row for row in rows if row.group == group] for group in dict.fromkeys(row.group for row in rows)}


def _group(
    members: list[BenchRow], trained: Trained, batch_size: int, steps: int, count: int, device: torch.device
) -> list[dict[str, Any]]:
    members = [row for row in members if row.attack != "torchattacks" or find_spec("torchattacks")]
    members = [row for row in members if row.graphs == "attack and loss" or device.type == "cuda"]
    sources: dict[str, NetworkNamed] = {"trained": trained, "fresh": fresh}
    timed = partial(TimedStep, steps=steps, device=device)
    made = [timed(row, batch_size=batch_size, network=sources[row.networks]) for row in members]
    memory = [_peak_memory(step) for step in made]
    seconds = rounds(made, count)
    parallel = 1 if device.type == "cuda" else torch.get_num_threads()
    results = []
    for row, timing, peak in zip(members, seconds, memory, strict=True):
        counted = timed(row, batch_size=COUNTED_IMAGES)
        counted(0)  # the first attack also looks for what can be folded
        work = count_flops(partial(counted, 1)) * batch_size // COUNTED_IMAGES // counted.count
        results.append(
            {
                "group": row.group,
                "lever": row.lever,
                "networks": row.networks,
                "precision": "bfloat16" if row.bfloat16 else "float32",
                **_row_entry(timing, seconds[0], batch_size, work, parallel),
                "peak_memory": peak,
                "same_mathematics": row.same_mathematics,
                "difference": _difference(members[0], row, steps, device) if row.same_mathematics else None,
            }
        )
    return results


def _peak_memory(step: TimedStep) -> int | None:
    huge_pages(step.row.huge_pages)
    return peak_memory(partial(step, 0), step.device)


def _row_entry(timing: Seconds, reference: Seconds, batch_size: int, work: int, parallel: int) -> dict[str, Any]:
    """`parallel` threads that share the process seconds: a thread's share of them is what a quiet machine would take."""
    middle = statistics.median(timing["step"])
    return {
        "seconds": middle,
        "wall_seconds": statistics.median(timing["wall"]),
        "images_per_s": batch_size / statistics.median(timing["wall"]),
        "times_faster": ratio(reference["step"], timing["step"]),
        "attack_share": statistics.median(a / b for a, b in zip(timing["attack"], timing["step"], strict=True)),
        "attack_seconds": statistics.median(timing["attack"]),
        "flops": work,
        "flops_per_s": work * parallel / middle,
    }


def _difference(reference: BenchRow, row: BenchRow, steps: int, device: torch.device) -> dict[str, float]:
    """From equal weights, images and starts, in float64: of the loss, of the adversarial images, and how many pixels went
    elsewhere. In float32 an untrained network in train mode blows rounding up until half the pixels differ.
    """
    pair = [
        TimedStep(one, batch_size=COUNTED_IMAGES, steps=steps, device=device, dtype=torch.float64)
        for one in (reference, row)
    ]
    x, y = (
        torch.rand(COUNTED_IMAGES, 3, 32, 32, device=device, dtype=torch.float64),
        torch.arange(COUNTED_IMAGES, device=device),
    )
    (loss, x_adv), (other_loss, other_x) = (step.descend(x, y, 0) for step in pair)
    distance = (x_adv - other_x).abs()
    return {
        "loss": float((loss - other_loss).abs()),
        "largest_pixel": float(distance.max()),
        "share_of_pixels": float((distance > HALF_A_STEP).double().mean()),
    }


def _processor() -> str:
    """The name of the processor, and whether it computes in bfloat16."""
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    name = re.search(r"model name\s*: (.*)", cpuinfo)
    units = [unit for unit in ("avx512_bf16", "amx_bf16") if unit in cpuinfo]
    return f"{name[1] if name else platform.machine()} ({', '.join(units) or 'no bfloat16 units'})"
