"""The loss along one random direction of the weights."""

from math import log

from ard.artifacts.diagnosis import Curve
from ard.diagnostics.base import Found, diagnostic
from ard.diagnostics.inspected import Inspected
from ard.diagnostics.other_weights import along, filter_normalised, losses_with

POINTS, IMAGES = 51, 200
STEP = "a, in lengths of the weights"


@diagnostic(
    tells="how wide and how smooth the valley is in which the weights lie, along one direction of very many",
    cannot="be held against the line of another architecture; nor speak for other directions",
    source="arXiv:1906.03291, directions after arXiv:1712.09913",
)
def loss_line(of: Inspected) -> Found:
    """L(θ + a d) and the accuracy at 51 places a in [−1, 1], d filter-normalised, on clean and on fixed attacked images.

    Of 200 images, of all with --exact. The values: on which share of the line the loss is below log C, that of a guess.
    """
    chosen = of.sample(IMAGES, "loss line")
    direction = filter_normalised(of.student, of.generator("loss line"))
    steps = tuple(2 * place / (POINTS - 1) - 1 for place in range(POINTS))
    found = [losses_with(of, along(of.student, (a, direction)), chosen) for a in of.track(steps, "loss line")]
    losses, right = ({kind: tuple(one[kind][which] for one in found) for kind in found[0]} for which in (0, 1))
    guess = log(of.logits.shape[1])
    values = {f"{kind}, share below a guess": sum(loss < guess for loss in line) / POINTS for kind, line in losses.items()}
    curves = {
        "loss": Curve(x_label=STEP, y_label="cross entropy", x=steps, lines=losses),
        "accuracy": Curve(x_label=STEP, y_label="accuracy", x=steps, lines=right),
    }
    return Found(values=values, curves=curves, n=len(chosen))
