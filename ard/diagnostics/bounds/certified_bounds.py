"""What interval arithmetic proves of the answers inside a ball."""

import torch
from torch import Tensor, nn

from ard.diagnostics.base import Found, NotApplicableError, diagnostic
from ard.diagnostics.bounded_logits import BoundedLogits, bounded_logits
from ard.diagnostics.inspected import Inspected

SMALL = 0.1  # of eps: at eps itself widths of most networks say nothing
TRIED = 10  # images that a network is refused by
USELESS = 1000  # times the spread of the logits: then no image could be certified at a thousandth of the radius


@diagnostic(
    tells="a share of images that is proved to be safe from every attack, beside the attack's accuracy, which is an upper "
    "bound; and how wide the answers can be under small changes",
    cannot="say that an image it does not certify can be attacked: the bounds grow with every layer, and most networks "
    "trained without them have none left at eps",
    source="arXiv:1810.11726; arXiv:1810.12715",
)
def certified_bounds(of: Inspected) -> Found:
    """Bounds l <= f(x') <= u over all x' in [0, 1] with |x' − x| <= r: through W, centre W m + b and radius |W| r.

    Width is u − l at r = eps/10, averaged over logits and images, and in units of the logits' standard deviation over images
    about their class's mean. Certified is the share of images, from 0 to 1, with f_y − f_j > 0 for every j on the whole box,
    at eps/10 and at eps: never above robust accuracy, but for rounding. For L2 the box around the ball is used. A linear
    network has widths 2 r sum_j |W_kj|. Raises NotApplicableError for a network with a layer that has no rule, and for one
    so deep that widths are a thousand times the spread of the logits.
    """
    spread = float((of.logits - of.logits.mean(dim=0)).double().square().mean().sqrt())
    _check_useful(of, spread)
    widths: list[Tensor] = []
    certified: dict[float, list[Tensor]] = {SMALL: [], 1.0: []}
    for x, y in of.track(list(of.blocks(of.x, of.y)), "interval bounds"):
        for share, found in certified.items():
            logits = _box(of, x, share)
            found.append(logits.smallest_margin(y) > 0)
            if share == SMALL:
                widths.append(2 * logits.logits.radius.double().mean(dim=1))
    width = float(torch.cat(widths).mean())
    values = {
        "mean width at eps/10": width,
        "mean width in spreads": width / spread if spread else 0.0,
        "certified at eps/10": _share(certified[SMALL]),
        "certified at eps": _share(certified[1.0]),
        "robust accuracy": of.robust_acc,
    }
    return Found(values=values)


def _check_useful(of: Inspected, spread: float) -> None:
    width = 2 * float(_box(of, of.x[:TRIED], SMALL).logits.radius.double().mean())
    if width > USELESS * spread:
        layers = sum(isinstance(layer, nn.Conv2d | nn.Linear) for layer in of.student.modules())
        raise NotApplicableError(
            f"interval bounds say nothing of a network as deep ({layers} layers of weights): at eps/10 they are "
            f"{width / spread if spread else width:.1g} times as wide as answers to different images differ"
        )


def _box(of: Inspected, x: Tensor, share: float) -> BoundedLogits:
    return bounded_logits(of.student, x, share * of.ball.eps)


def _share(found: list[Tensor]) -> float:
    return float(torch.cat(found).double().mean())
