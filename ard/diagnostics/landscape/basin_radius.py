"""How far the weights may be moved before the network only guesses."""

from collections.abc import Callable
from math import log
from statistics import median

from ard.diagnostics.base import Found, NotApplicableError, diagnostic
from ard.diagnostics.inspected import Inspected
from ard.diagnostics.other_weights import along, filter_normalised, loss_and_accuracy

DIRECTIONS, IMAGES = 8, 200
FARTHEST, RADII, HALVINGS = 2.0, 12, 6  # the farthest place is twice the weights away


@diagnostic(
    tells="how wide the basin is in which the weights lie, in the middle one of a few random directions",
    cannot="give the basin's volume, which the widest directions of all decide; nor say anything of attacked images",
    source="arXiv:1906.03291, with the median of the radii in place of the volume",
)
def basin_radius(of: Inspected) -> Found:
    """Median of the smallest r > 0 at which L(θ ± r d) reaches log C, the loss of a guess; d filter-normalised.

    Over both sides of 8 directions, L the cross entropy on 200 clean images, or all with --exact. The edge is searched at 12
    places up to r = 2, denser near 0, and then by halving; where the loss stays below, r counts as 2. Raises
    NotApplicableError where L(θ) is no better than a guess.
    """
    chosen, guess = of.sample(IMAGES, "basin radius"), log(of.logits.shape[1])
    x, y, generator = of.x[chosen], of.y[chosen], of.generator("basin radius")
    if (here := loss_and_accuracy(of.student, {}, x, y)[0]) >= guess:
        raise NotApplicableError(f"its loss is {here:.2f}, not below {guess:.2f}, that of a guess: there is no basin")
    radii = []
    for _ in of.track(range(DIRECTIONS), "basin radius"):
        d = filter_normalised(of.student, generator)
        for side in (1, -1):
            radii.append(_first(lambda r: loss_and_accuracy(of.student, along(of.student, (r, d)), x, y)[0], guess, side))  # noqa: B023
    never = sum(radius == FARTHEST for radius in radii) / len(radii)
    return Found(values={"median radius": median(radii), "share of rays without an edge": never}, n=len(chosen))


def _first(loss: Callable[[float], float], cutoff: float, side: int) -> float:
    """The first place of the search beyond the cutoff, and the edge between it and the one before."""
    inside = 0.0
    for place in range(1, RADII + 1):
        outside = FARTHEST * (place / RADII) ** 2
        if loss(side * outside) >= cutoff:
            break
        inside = outside
    else:
        return FARTHEST
    for _ in range(HALVINGS):
        middle = (inside + outside) / 2
        inside, outside = (inside, middle) if loss(side * middle) >= cutoff else (middle, outside)
    return (inside + outside) / 2
