"""Pure losses on logits, one number per example, shape (batch,); reduction is the caller's last line."""

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, y: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """−Σ_c q_c log softmax(logits)_c with q = (1 − s)·onehot(y) + s/C; logits (batch, C), y (batch,) -> (batch,)."""
    return F.cross_entropy(_at_least_float32(logits), y, reduction="none", label_smoothing=label_smoothing)


def kl(target: Tensor, logits: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(softmax(target/T) ‖ softmax(logits/T)), summed over classes, without the factor T²; both (batch, C) -> (batch,).

    Gradients flow into both arguments: whether `target` is detached is the method's mathematics, not the loss's.
    Raises ValueError when the shapes differ, which F.kl_div would broadcast in silence.
    """
    if target.shape != logits.shape:
        raise ValueError(f"KL between logits of shapes {tuple(target.shape)} and {tuple(logits.shape)}; expected equal")
    log_p, log_q = log_softmax(target, temperature), log_softmax(logits, temperature)
    return (log_p.exp() * (log_p - log_q)).sum(dim=1)


def log_softmax(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """log softmax(logits/T) in at least float32; (batch, C) -> (batch, C)."""
    return F.log_softmax(_at_least_float32(logits) / temperature, dim=1)


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """max_{k≠y} z_k − z_y, positive where the example is misclassified (Carlini & Wagner 2017); -> (batch,)."""
    logits = _at_least_float32(logits)
    true = F.one_hot(y, logits.shape[1]).bool()
    return logits.masked_fill(true, -torch.inf).amax(dim=1) - logits[true]


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """(max_{k≠y} z_k − z_y) / (z_π1 − z_π3), π sorting the logits downwards (Croce & Hein, ICML 2020); -> (batch,).

    Neither shifting nor scaling the logits changes it. Raises ValueError for fewer than three classes.
    """
    if logits.shape[1] < 3:
        raise ValueError(f"DLR of {logits.shape[1]} classes; expected at least 3")
    highest = _at_least_float32(logits).topk(3, dim=1).values
    return margin(logits, y) / (highest[:, 0] - highest[:, 2] + 1e-12)


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
