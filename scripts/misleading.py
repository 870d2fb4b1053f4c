#!/usr/bin/env python3
"""What `ard evaluate` says of networks that mislead an attack, and of honest ones: the zoo of the tests, at full size.

`scripts/misleading.py [quick|standard ...]` evaluates each subject on 100 digits at eps 0.15 and writes
docs/results/misleading.json, whose other suites stay. quick takes some two CPU minutes, standard many more.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from small_runs import digits  # noqa: E402
from torch import nn  # noqa: E402
from zoo import BALL, honest, quickly_trained, undefended  # noqa: E402
from zoo_gradients import ISSUE, OWN, PUBLISHED  # noqa: E402
from zoo_honest import KINDS, network  # noqa: E402

from ard.core.errors import UserError  # noqa: E402
from ard.evaluation.evaluation import evaluate_images  # noqa: E402

OUTPUT = ROOT / "docs" / "results" / "misleading.json"
IMAGES = 100


def subjects() -> dict[str, tuple[str, Callable[[], nn.Module]]]:
    """By name: broken or honest, and what makes it."""
    broken = {name: ("broken", subject.model or honest) for name, subject in (ISSUE | PUBLISHED | OWN).items()}
    ours = {"PGD adversarial training": honest, "FGSM adversarial training": quickly_trained, "undefended": undefended}
    return (
        broken
        | {name: ("honest", make) for name, make in ours.items()}
        | {f"{k}, trained": ("honest", _of(k)) for k in KINDS}
    )


def _of(kind: str) -> Callable[[], nn.Module]:
    return lambda: network(kind)


def evaluated(make: Callable[[], nn.Module], suite: str) -> dict[str, Any]:
    """What the suite says of a network."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)  # for those that draw
        try:
            record = evaluate_images(make(), *digits(IMAGES), BALL, suite=suite)
        except UserError as error:
            return {"word": "refused", "reason": str(error)}
    raised = [check.id for check in record.checks if check.verdict in ("fail", "warn")]
    pgd = next(attack.accuracy for attack in record.attacks if attack.name == "PGD-20")
    assert record.time is not None
    seconds = record.time.cpu_seconds
    return {"pgd20": pgd, "robust_acc": record.robust_acc, "word": record.word, "raised": raised, "cpu_seconds": seconds}


def main(suites: list[str]) -> None:
    known = json.loads(OUTPUT.read_text())["subjects"] if OUTPUT.exists() else {}
    for name, (kind, make) in subjects().items():
        row = known.setdefault(name, {"kind": kind})
        row |= {suite: evaluated(make, suite) for suite in suites}
        print(name, row, flush=True)
        about = {"images": IMAGES, "eps": BALL.eps, "torch": torch.__version__, "subjects": known}
        OUTPUT.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:] or ["quick"])
