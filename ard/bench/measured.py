"""What was counted and timed before: passes of every recipe's step, and what steps reached on GPUs."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from ard.configs.catalogue import root


def _measurements() -> Path:
    """The folder of what was measured: beside the configs in the repository, inside an installed package."""
    shipped = Path(__file__).parent / "records"
    return shipped if shipped.is_dir() else root().parent / "docs" / "results"


@cache
def passes() -> dict[str, dict[str, dict[str, float]]]:
    """Forward and backward passes of a step through each network, by recipe; attacks of several steps had 10."""
    file = _measurements() / "costs.json"
    return json.loads(file.read_text(encoding="utf-8"))["passes"] if file.is_file() else {}


@cache
def speeds() -> tuple[dict[str, Any], ...]:
    """What training steps reached on GPUs: device, student, lever, images_per_s, tflops."""
    found = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(_measurements().glob("gpu-*/speed.json"))]
    return tuple({"device": record["device"], **row} for record in found for row in record["rows"])
