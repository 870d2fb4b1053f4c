"""Accuracy and loss around the images: the picture that shows catastrophic overfitting."""

import torch
from torch import Tensor

from ard.artifacts.diagnosis import Plane
from ard.attacks import ascent
from ard.diagnostics.base import Found, diagnostic
from ard.diagnostics.inspected import Inspected
from ard.diagnostics.other_weights import loss_and_accuracy
from ard.losses import attack_labels

SIDE, IMAGES = 21, 100
FARTHEST = 2.0  # in eps
ON_THE_RAY = SIDE // 2  # b = 0, and a = 0


@diagnostic(
    tells="whether the accuracy falls on the way to a step of the gradient's sign and is back at its end: the mark of a "
    "network that has overfitted to one-step attacks",
    cannot="say that a network is robust: attacks of many steps leave this plane",
    source="arXiv:1705.07204; for the dip arXiv:2010.01799",
)
def input_plane(of: Inspected) -> Found:
    """Accuracy and mean loss at clamp(x + eps (a g + b r)) for 21 × 21 places a, b in [−2, 2].

    g is the steepest direction of the loss at x and r a random one, both of norm 1 in the norm of the ball: signs for Linf.
    Of 100 images, of all with --exact. The dip is the accuracy at a = 1 without r, less the lowest for a between 0 and 1.
    """
    chosen = of.sample(IMAGES, "input plane")
    x, y = of.x[chosen], of.y[chosen]
    g = torch.cat([_steepest(of, *block) for block in of.blocks(x, y)])
    r = of.ball.steepest(torch.randn(x.shape, generator=of.generator("input plane"), device=x.device))
    steps = tuple(FARTHEST * (2 * place / (SIDE - 1) - 1) for place in range(SIDE))
    rows = [[_at(of, x + of.ball.eps * (a * g + b * r), y) for a in steps] for b in of.track(steps, "input plane")]
    losses, right = (tuple(tuple(one[which] for one in row) for row in rows) for which in (0, 1))
    ray = dict(zip(steps, right[ON_THE_RAY], strict=True))
    end = min(steps, key=lambda a: abs(a - 1))
    lowest = min(accuracy for a, accuracy in ray.items() if 0 < a < end)
    values = {"accuracy at one step": ray[end], "lowest on the way": lowest, "dip": max(0.0, ray[end] - lowest)}
    planes = {"accuracy": _plane("accuracy", steps, right), "loss": _plane("cross entropy", steps, losses)}
    return Found(values=values, planes=planes, n=len(chosen))


def _steepest(of: Inspected, x: Tensor, y: Tensor) -> Tensor:
    _, gradient = ascent(attack_labels(of.student, y), x)
    return of.ball.steepest(gradient)


def _at(of: Inspected, x: Tensor, y: Tensor) -> tuple[float, float]:
    return loss_and_accuracy(of.student, {}, x.clamp(0, 1), y)


def _plane(label: str, steps: tuple[float, ...], values: tuple[tuple[float, ...], ...]) -> Plane:
    return Plane(
        x_label="a, along the gradient, in eps",
        y_label="b, in a random direction, in eps",
        value_label=label,
        x=steps,
        y=steps,
        values=values,
    )
