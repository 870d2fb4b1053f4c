"""How straight the answer is on the way from one image to another."""

import torch
from torch import Tensor

from ard.artifacts.diagnosis import Curve
from ard.diagnostics.base import Found, NotApplicableError, diagnostic
from ard.diagnostics.inspected import Inspected

POINTS, PAIRS = 129, 64
DRAWN = 20 * PAIRS  # from which pairs of one class are left out
UNCHANGED = 1e-5  # of the largest answer on the way: what rounding alone may do


@diagnostic(
    tells="how much a network bends between images of different classes: locally (deviation) and on the whole (deflection)",
    cannot="say what happens in other directions, such as an attack's; among robust students straighter was not better",
    source="after arXiv:1903.01997; its normalisation is ours",
)
def gradient_gap(of: Inspected) -> Found:
    """On x(t) = (1 − t) x_0 + t x_1, h(t) = f_{y_1} − f_{y_0} has slopes g_k between 129 points, in units of |h(1) − h(0)|.

    Deviation is the standard deviation of the gaps g_{k+1} − g_k, deflection that of the slopes g_k; both the median over 64
    pairs of images of different class, from 0, and 0 for a linear network; logits times a number give the same.
    """
    first, second = _drawn(of)
    shares = []
    for a, b in of.track(list(zip(first.tolist(), second.tolist(), strict=True)), "ways between images"):
        shares += _way(of, a, b)
    if not shares:
        raise NotApplicableError("the answers are the same at both ends of every way")
    ways = torch.stack(shares)
    slopes = ways.diff(dim=1) * (POINTS - 1)
    values = {
        "deviation": float(slopes.diff(dim=1).std(dim=1, correction=0).median()),
        "deflection": float(slopes.std(dim=1, correction=0).median()),
    }
    settings = {"points": POINTS, "pairs": len(ways)}
    return Found(values=values, curves={"ways": _ways(ways)}, settings=settings, n=len(torch.cat([first, second]).unique()))


def _drawn(of: Inspected) -> tuple[Tensor, Tensor]:
    first, second = torch.randint(len(of.x), (2, DRAWN), generator=of.generator("ways"), device=of.x.device)
    differ = (of.y[first] != of.y[second]).nonzero().flatten()[:PAIRS]
    if not len(differ):
        raise NotApplicableError("all images are of one class")
    return first[differ], second[differ]


def _way(of: Inspected, a: int, b: int) -> list[Tensor]:
    """The share of its whole change that h has made at each point, (POINTS,); none where it changes by nothing."""
    t = torch.linspace(0, 1, POINTS, device=of.x.device)[:, None, None, None]
    logits = of.answers(of.student, torch.lerp(of.x[a], of.x[b], t)).double()
    h = logits[:, of.y[b]] - logits[:, of.y[a]]
    change = h[-1] - h[0]
    return [] if change.abs() <= UNCHANGED * logits.abs().max() else [(h - h[0]) / change]


def _ways(ways: Tensor) -> Curve:
    low, middle, high = ways.quantile(ways.new_tensor([0.1, 0.5, 0.9]), dim=0).tolist()
    t = torch.linspace(0, 1, POINTS).tolist()
    lines = {"10th percentile": tuple(low), "median": tuple(middle), "90th percentile": tuple(high), "straight": tuple(t)}
    return Curve(x_label="share of the way", y_label="share of the change", x=tuple(t), lines=lines)
