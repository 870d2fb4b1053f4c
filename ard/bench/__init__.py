"""`ard bench`: our training step against the released ones, on this machine."""

import platform
import statistics
import sys
from functools import partial
from typing import Any

import torch

from ard.bench.measure import ceilings, ratio, rounds
from ard.bench.rows import Row, Step, every_row
from ard.bench.table import table
from ard.flops import count_flops

__all__ = ["benchmark", "table"]

HALF_A_STEP = 1 / 255
FEW = 8  # images, when operations are counted: their number is proportional to the batch


def benchmark(*, batch_size: int = 128, steps: int = 10, count: int = 5, only: str = "") -> dict[str, Any]:
    """Time every row of the groups whose name contains `only`, `count` interleaved rounds, and return the record."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    limits = ceilings(device)
    results = []
    for group in dict.fromkeys(row.group for row in every_row() if only in row.group):
        members = [row for row in every_row() if row.group == group]
        print(f"{group}: {len(members)} rows, {count + 1} rounds", file=sys.stderr)
        results += _group(members, batch_size, steps, count, device)
    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "clock": "wall" if device.type == "cuda" else "process",
        "torch": torch.__version__,
        "batch_size": batch_size,
        "pgd_steps": steps,
        "rounds": count,
        "ceilings_flops": limits,
        "rows": results,
    }


def _group(members: list[Row], batch_size: int, steps: int, count: int, device: torch.device) -> list[dict[str, Any]]:
    def made(row: Row, size: int = batch_size) -> Step:
        return Step(row, batch_size=size, steps=steps, device=device)

    seconds = rounds([(row.name, made(row)) for row in members], count, device)
    reference, results = members[0], []
    for row in members:
        counted = made(row, FEW)
        counted(0)  # the first attack also looks for what can be folded
        work = count_flops(partial(counted, 1)) * batch_size // FEW
        middle = statistics.median(seconds[row.name])
        results.append(
            {
                "group": row.group,
                "lever": row.lever,
                "seconds": middle,
                "images_per_s": batch_size / middle,
                "times_faster": ratio(seconds[reference.name], seconds[row.name]),
                "flops": work,
                "flops_per_s": work / middle,
                "precision": "bfloat16" if row.bfloat16 else "float32",
                "same_mathematics": row.same_mathematics,
                "difference": _difference(reference, row, steps, device) if row.same_mathematics else None,
            }
        )
    return results


def _difference(reference: Row, row: Row, steps: int, device: torch.device) -> dict[str, float]:
    """From equal weights, images and starts, in float64: of the loss, of the adversarial images, and how many pixels went
    elsewhere. In float32 an untrained network in train mode blows rounding up until half the pixels differ.
    """
    pair = [Step(one, batch_size=FEW, steps=steps, device=device, dtype=torch.float64) for one in (reference, row)]
    (loss, x_adv), (other_loss, other_x) = (step(0) for step in pair)
    distance = (x_adv - other_x).abs()
    return {
        "loss": float((loss - other_loss).abs()),
        "largest_pixel": float(distance.max()),
        "share_of_pixels": float((distance > HALF_A_STEP).double().mean()),
    }
