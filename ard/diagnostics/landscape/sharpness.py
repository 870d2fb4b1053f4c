"""How much the loss rises when all weights are moved a little."""

import torch

from ard.diagnostics.base import Found, diagnostic
from ard.diagnostics.inspected import Inspected
from ard.diagnostics.other_weights import along, filter_normalised, losses_with

DIRECTIONS, RADIUS = 8, 0.1


@diagnostic(
    tells="whether the weights lie in a flat or a sharp place of the loss, on clean images and on attacked ones",
    cannot="rank robust students: in a small check it only told them from others, whose loss on attacked images is so high "
    "that it falls; and the attacked images stay those of the weights as they are",
    source="arXiv:1906.03291, directions after arXiv:1712.09913",
    runs="always",
)
def sharpness(of: Inspected) -> Found:
    """Mean over 8 directions d of L(θ + 0.1 d) − L(θ), L the cross entropy on the clean or on the fixed attacked images.

    d is random and filter-normalised: each filter of d is as long as that of θ, so that the scale of a layer does not count.
    Biases, BatchNorm and its statistics stay. ± is the standard error over directions. May be below 0.
    """
    generator, here = of.generator("sharpness"), losses_with(of, {})
    rises = []
    for _ in of.track(range(DIRECTIONS), "sharpness"):
        there = losses_with(of, along(of.student, (RADIUS, filter_normalised(of.student, generator))))
        rises.append([there[kind][0] - here[kind][0] for kind in here])
    values: dict[str, float] = {}
    for kind, rise in zip(here, torch.tensor(rises, dtype=torch.float64).T, strict=True):
        values |= {f"{kind} loss": float(rise.mean()), f"{kind} loss, ±": float(rise.std() / DIRECTIONS**0.5)}
    return Found(values=values, settings={"directions": DIRECTIONS, "radius": RADIUS})
