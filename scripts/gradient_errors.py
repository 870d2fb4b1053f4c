#!/usr/bin/env python3
"""How far honest gradients are from differences of the logits, which decides what counts as wrong: twelve kinds of network.

Each is trained adversarially on digits for a moment and asked at 40 images in the ball, moved off kinks as O13 moves them,
for cross entropy, margin and a random loss, in float64 and in float32. Writes docs/results/gradient-errors.json in a minute.
"""

import json
import sys
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from small_runs import digits  # noqa: E402
from zoo import BALL  # noqa: E402
from zoo_honest import KINDS, network  # noqa: E402

from ard.core.randomness import keyed_generator  # noqa: E402
from ard.evaluation.cascade import evaluation_mode  # noqa: E402
from ard.evaluation.gradient_check import COARSE, differences  # noqa: E402
from ard.evaluation.recorded_calls import Copies, RecordedCall, called, joined  # noqa: E402
from ard.losses import cross_entropy, margin  # noqa: E402

OUTPUT = ROOT / "docs" / "results" / "gradient-errors.json"
IMAGES = 40


class InFloat32(Copies):
    """Copies of a network that does not run in float64."""

    def in_float64(self, x: Tensor, logits: Tensor) -> None:  # noqa: ARG002
        return None


def gradients(kind: str) -> tuple[torch.nn.Module, RecordedCall]:
    """A network of this kind, and what it answers at images in the ball, with a gradient for each of three losses."""
    net, (x, y) = network(kind), digits(IMAGES)
    x = BALL.project(x + BALL.uniform(x, keyed_generator("cpu", "gradients", 0)), x)
    x = 0.01 + 0.98 * x + 0.01 * (torch.rand(x.shape, generator=keyed_generator("cpu", "limit", 0)) - 0.5)
    weights = torch.randn(IMAGES, 10, generator=keyed_generator("cpu", "start", 0))
    losses = (lambda z: cross_entropy(z, y), lambda z: margin(z, y), lambda z: (z * weights).sum(dim=1))
    with evaluation_mode(net):
        return net, joined([called(net, x, loss) for loss in losses])


def row(kind: str) -> dict[str, float | None]:
    """Relative errors along three random directions: in float64 median and largest, in float32 99 % and largest."""
    net, seen = gradients(kind)
    runs_in_float64 = Copies(net).in_float64(seen.x, seen.logits) is not None
    exact = differences(Copies(net), seen, keyed_generator("cpu", "differences", 0)) if runs_in_float64 else None
    coarse = COARSE * differences(InFloat32(net), seen, keyed_generator("cpu", "differences", 0))
    return {
        "float64_median": None if exact is None else float(exact.median()),
        "float64_largest": None if exact is None else float(exact.max()),
        "float32_99": float(coarse.quantile(0.99)),
        "float32_largest": float(coarse.max()),
        "gradients": len(seen.x),
    }


if __name__ == "__main__":
    OUTPUT.write_text(json.dumps({"images": IMAGES, "kinds": {kind: row(kind) for kind in KINDS}}, indent=1) + "\n")
