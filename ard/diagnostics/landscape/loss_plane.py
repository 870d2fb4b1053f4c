"""The loss in a random plane of the weights."""

from math import log

from ard.artifacts.diagnosis import Plane
from ard.diagnostics.base import Found, diagnostic
from ard.diagnostics.inspected import Inspected
from ard.diagnostics.other_weights import along, filter_normalised, losses_with

SIDE, IMAGES = 21, 100


@diagnostic(
    tells="what the valley in which the weights lie looks like in two directions of very many",
    cannot="be held against the plane of another architecture; nor speak for other directions",
    source="arXiv:1906.03291, directions after arXiv:1712.09913",
)
def loss_plane(of: Inspected) -> Found:
    """L(θ + a d + b e) at 21 × 21 places a, b in [−1, 1], d and e filter-normalised, on clean and on fixed attacked images.

    Of 100 images, of all with --exact. The values: on which share of the plane the loss is below log C, that of a guess.
    """
    chosen, generator = of.sample(IMAGES, "loss plane"), of.generator("loss plane")
    d, e = (filter_normalised(of.student, generator) for _ in range(2))
    steps = tuple(2 * place / (SIDE - 1) - 1 for place in range(SIDE))
    rows = of.track(steps, "loss plane")
    found = [[losses_with(of, along(of.student, (a, d), (b, e)), chosen) for a in steps] for b in rows]
    values, planes, guess = {}, {}, log(of.logits.shape[1])
    for kind in found[0][0]:
        heights = tuple(tuple(one[kind][0] for one in row) for row in found)
        planes[f"{kind} loss"] = Plane(
            x_label="a, in lengths of the weights",
            y_label="b, in lengths of the weights",
            value_label="cross entropy",
            x=steps,
            y=steps,
            values=heights,
        )
        values[f"{kind}, share below a guess"] = sum(height < guess for row in heights for height in row) / SIDE**2
    return Found(values=values, planes=planes, n=len(chosen))
