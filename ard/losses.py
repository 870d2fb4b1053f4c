"""Pure losses on logits, one number per example, shape (batch,); and what an attack is given to maximise."""

from collections.abc import Callable
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor], Tensor]  # x' -> one number per example, shape (batch,)


class AttackLoss:
    """A loss for an attack to maximise, with what an objective may add: where to search, and what to observe.

    It is called like any loss, x' (points, channels, height, width) -> (points,), so attacks and evaluation treat all
    losses alike. There may be more points than images: `centre` says around which image each point is searched.

    Args:
        loss: One number for each point; or a pair, the second of which is an observation, a number or bool for each point.
        start: The points where the attack begins, inside the ball. None: where the attack itself begins.
        centre: The centre of each point's ball. None: the images; two points for each image are cat([x, x]).
        allowed: x' -> (points,) bools. A step to a point that is not allowed ends at that point's centre instead.

    Attributes:
        seen: After the attack, each point's observations summed along its path, shape (points,). None without observations.
        gradient: After the attack, the gradient with which it took its last step, of the points' shape.
    """

    def __init__(
        self,
        loss: Callable[[Tensor], Tensor | tuple[Tensor, Tensor]],
        *,
        start: Tensor | None = None,
        centre: Tensor | None = None,
        allowed: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.loss, self.start, self.centre, self.allowed = loss, start, centre, allowed
        self.seen: Tensor | None = None
        self.gradient: Tensor | None = None

    @classmethod
    def of(cls, loss: Loss, *, start: Tensor | None = None) -> Self:
        """The loss as an AttackLoss, and the very same one where it is one, so that its maker can read what it observed.

        Args:
            loss: Any loss.
            start: Where the attack is to begin, in place of the loss's own start; None leaves that as it is.
        """
        made = loss if isinstance(loss, cls) else cls(loss)
        made.start = made.start if start is None else start
        return made

    @staticmethod
    def centre_of(loss: Loss | None, x: Tensor) -> Tensor:
        """The centre of each point that an attack on images x with this loss returns."""
        return loss.centre if isinstance(loss, AttackLoss) and loss.centre is not None else x

    def __call__(self, x_adv: Tensor) -> Tensor:
        value = self.loss(x_adv)
        if isinstance(value, Tensor):
            return value
        value, observed = value
        self.seen = observed.detach() + (0.0 if self.seen is None else self.seen)
        return value

    @torch.no_grad()
    def kept(self, x_adv: Tensor, centre: Tensor) -> Tensor:
        """The points that are allowed, and the centres of the others."""
        return x_adv if self.allowed is None else torch.where(self.allowed(x_adv).view(-1, 1, 1, 1), x_adv, centre)


def cross_entropy(logits: Tensor, y: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """−Σ_c q_c log softmax(logits)_c with q = (1 − s)·onehot(y) + s/C.

    Args:
        logits: Shape (batch, C).
        y: Classes, shape (batch,); or shares of classes, shape (batch, C), in place of the one-hot label: such as a mixed
            image has. A row of zeros is an image without a label, its loss is 0.
        label_smoothing: s.

    Returns:
        One number for each example, shape (batch,).
    """
    logits = at_least_float32(logits)
    if y.ndim == 1:
        return F.cross_entropy(logits, y, reduction="none", label_smoothing=label_smoothing)
    shares = (1 - label_smoothing) * y + label_smoothing / y.shape[1] * y.sum(dim=1, keepdim=True)
    return -(shares * F.log_softmax(logits, dim=1)).sum(dim=1)


def attack_labels(student: Callable[[Tensor], Tensor], y: Tensor) -> Loss:
    """Cross entropy with the true label, never smoothed: the attack loss of PGD-AT and ARD, and that of a PGD-20."""
    return lambda x_adv: cross_entropy(student(x_adv), y)


def shares_of(y: Tensor, num_classes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Classes (batch,) as shares (batch, C), a row of zeros for −1; shares as they are.

    Unlike torch's one_hot it lets no device wait to see whether the classes are in range.
    """
    return y.to(dtype) if y.ndim == 2 else (y[:, None] == torch.arange(num_classes, device=y.device)).to(dtype)


def kl(target: Tensor, logits: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(softmax(target/T) ‖ softmax(logits/T)), summed over classes, without the factor T².

    Gradients flow into both arguments: whether `target` is detached is the method's mathematics, not the loss's.

    Args:
        target: Logits of the first distribution, shape (batch, C).
        logits: Logits of the second, shape (batch, C).
        temperature: T, above 0.

    Returns:
        One number for each example, shape (batch,).

    Raises:
        ValueError: When the shapes differ, which F.kl_div would broadcast in silence.
    """
    if target.shape != logits.shape:
        raise ValueError(f"KL between logits of shapes {tuple(target.shape)} and {tuple(logits.shape)}; expected equal")
    log_p, log_q = log_softmax(target, temperature), log_softmax(logits, temperature)
    return (log_p.exp() * (log_p - log_q)).sum(dim=1)


def log_softmax(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """log softmax(logits/T) in at least float32; (batch, C) -> (batch, C)."""
    return F.log_softmax(at_least_float32(logits) / temperature, dim=1)


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """max_{k≠y} z_k − z_y, positive where the example is misclassified (Carlini & Wagner 2017).

    Args:
        logits: z, shape (batch, C).
        y: Classes, shape (batch,).

    Returns:
        One number for each example, shape (batch,).
    """
    logits, true = at_least_float32(logits), y[:, None]
    return logits.scatter(1, true, -torch.inf).amax(dim=1) - logits.gather(1, true).squeeze(1)


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """(max_{k≠y} z_k − z_y) / (z_π1 − z_π3), π sorting the logits downwards (Croce & Hein, ICML 2020).

    Neither shifting nor scaling the logits changes it.

    Args:
        logits: z, shape (batch, C).
        y: Classes, shape (batch,).

    Returns:
        One number for each example, shape (batch,).

    Raises:
        ValueError: For fewer than three classes.
    """
    if logits.shape[1] < 3:
        raise ValueError(f"DLR of {logits.shape[1]} classes; expected at least 3")
    highest = at_least_float32(logits).topk(3, dim=1).values
    return margin(logits, y) / (highest[:, 0] - highest[:, 2] + 1e-12)


def at_least_float32(logits: Tensor) -> Tensor:
    """Half precision as float32, whose digits sums and small differences need; anything else as it is."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
