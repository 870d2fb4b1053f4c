"""The length of the gradient at the end of training."""

from ard.diagnostics.base import Found, diagnostic
from ard.diagnostics.curvature import MeanLoss
from ard.diagnostics.inspected import Inspected


@diagnostic(
    tells="whether the weights lie at a stationary point of the loss on these images, on clean or on fixed attacked ones",
    cannot="say that training converged: it saw other images, augmented and attacked anew, and a distilled student another "
    "loss; and the number changes with the scale of the weights",
    source="arXiv:1910.00359",
)
def gradient_norm(of: Inspected) -> Found:
    """‖∇_θ L(θ)‖₂ of the mean cross entropy, in eval mode; and with λ θ added where the weight decay λ of training is known.

    From 0.
    """
    values = {}
    for kind, x in {"clean": of.x, "robust": of.attacked}.items():
        loss = MeanLoss(of.student, x, of.y)
        gradient = loss.gradient()
        values[f"{kind} loss"] = float(gradient.double().norm())
        if of.weight_decay is not None:
            values[f"{kind} loss and weight decay"] = float((gradient + of.weight_decay * loss.theta).double().norm())
    return Found(values=values, settings={} if of.weight_decay is None else {"weight decay": of.weight_decay})
