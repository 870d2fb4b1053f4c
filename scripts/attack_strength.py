#!/usr/bin/env python3
"""Is an attack whose gradients are computed in bfloat16 weaker? Writes docs/results/benchmark/attack-strength.json.

scripts/attack_strength.py WEIGHTS...: for each file, and for the same network untrained, PGD-10 in float32 and in bfloat16,
in eval mode (BatchNorm folded, as shipped) and in train mode, from the same random starts, judged in float32.
"""

import copy
import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ard.attacks import PGD, Ball, ascent, attacking
from ard.commands.subject import Subject
from ard.core.files import write_whole
from ard.core.randomness import keyed_generator
from ard.evaluation.request import Request
from ard.losses import cross_entropy

OUTPUT = Path(__file__).resolve().parents[1] / "docs" / "results" / "benchmark" / "attack-strength.json"
IMAGES, BATCH, SEEDS = 1000, 128, (0, 1, 2)


def main(files: list[str]) -> None:
    """Every file's network, trained and untrained."""
    rows = []
    for file in files:
        subject = Subject.of(Path(file), Request())
        some = torch.randperm(len(subject.y), generator=keyed_generator("cpu", "strength"))[:IMAGES]
        x, y = subject.x[some], subject.y[some]
        for state, network in (("trained", subject.model), ("untrained", untrained(subject.model))):
            about = {"data": subject.data.title, "network": subject.network, "state": state, "images": len(y)}
            rows += [about | row for row in measured(network, subject.ball, x, y)]
            print(json.dumps(rows[-4:], indent=1))
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    write_whole(
        OUTPUT, json.dumps({"torch": torch.__version__, "steps": 10, "seeds": list(SEEDS), "rows": rows}, indent=1) + "\n"
    )


def untrained(model: nn.Module) -> nn.Module:
    """The same network with the weights that its layers are born with."""
    fresh = copy.deepcopy(model)
    torch.manual_seed(0)
    for module in fresh.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return fresh


def measured(model: nn.Module, ball: Ball, x: Tensor, y: Tensor) -> list[dict[str, Any]]:
    """A row for each mode and precision: accuracy under attack, the loss it reached, signs unlike float32's at the start."""
    rows = []
    for mode in ("eval", "train"):
        signs: dict[str, Tensor] = {}
        for precision in ("float32", "bfloat16"):
            results = [attacked(model, ball, x, y, mode, precision, seed) for seed in SEEDS]
            signs[precision] = results[0][2]
            rows.append(
                {
                    "attack_mode": mode,
                    "precision": precision,
                    "robust_acc": [accuracy for accuracy, _, _ in results],
                    "loss": [loss for _, loss, _ in results],
                    "signs_differ": float((signs[precision] != signs["float32"]).double().mean()),
                }
            )
    return rows


def attacked(
    model: nn.Module, ball: Ball, x: Tensor, y: Tensor, mode: Any, precision: str, seed: int
) -> tuple[float, float, Tensor]:
    """Accuracy in eval mode and mean loss in the attack's own mode, both in float32; and the signs of the first gradient."""
    right, losses, signs = 0, [], []
    for place, (images, labels) in enumerate(zip(x.split(BATCH), y.split(BATCH), strict=True)):
        network = copy.deepcopy(model)  # train mode moves BatchNorm statistics

        def loss(x_adv: Tensor, network: nn.Module = network, labels: Tensor = labels) -> Tensor:
            return cross_entropy(network(x_adv), labels)

        half = torch.autocast(x.device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()
        with attacking(network, nn.Identity(), mode=mode):
            with half:
                signs.append(ascent(loss, images)[1].sign())
                x_adv = PGD(ball, steps=10)(loss, images, keyed_generator(x.device, "strength", seed, place))
            losses.append(ascent(loss, x_adv)[0])
        with torch.no_grad():
            right += int((model.eval()(x_adv).argmax(1) == labels).sum())
    return right / len(y), float(torch.cat(losses).mean()), torch.cat(signs)


if __name__ == "__main__":
    main(sys.argv[1:])
