"""MART: adversarial training with more weight on the images the student gets wrong."""

import math

import torch
from torch import Tensor, nn

from ard.core.ranges import at_least
from ard.losses import attack_labels, cross_entropy, kl, log_softmax
from ard.objectives.base import Objective, Pair


class MART(Objective):
    """MART, Wang et al., ICLR 2020.

    Attack loss: CE(S(x'), y).
    Training loss: mean CE(S(x'), y) − log(1 + s − p_k*(x')) + β (1 − p_y(x)) KL(S(x) ‖ S(x')), where p is the softmax of
    S and k* the likeliest wrong class on x'. The clean branch keeps its gradient in both factors.

    Args:
        beta: The paper's λ.
        slack: s. The paper's 0 is computed exactly and cannot overflow; the released code has 1e-4, which takes the push
            from a wrong class of which the student is sure: half of it where p_k* is 0.9999.
    """

    def __init__(self, *, beta: float = 5.0, slack: float = 0.0) -> None:
        super().__init__()
        at_least(0, slack=slack)
        self.beta, self.slack = beta, slack

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:  # noqa: ARG002
        def training_loss(x_adv: Tensor) -> dict[str, Tensor]:
            clean, adv = student(x), student(x_adv)
            unsure = 1 - (-cross_entropy(clean, y)).exp()
            return {
                "ce": self.hard_label(adv, y),
                "wrong": _likeliest_wrong(adv, y, self.slack).mean(),
                "kl": self.beta * (unsure * kl(clean, adv)).mean(),
            }

        return attack_labels(student, y), training_loss


def _likeliest_wrong(logits: Tensor, y: Tensor, slack: float) -> Tensor:
    """−log(1 + slack − max_{k≠y} p_k) as the log of a sum over the other classes; -> (batch,)."""
    log_p = log_softmax(logits)
    wrong = log_p.scatter(1, y[:, None], -torch.inf).argmax(dim=1, keepdim=True)
    others = log_p.scatter(1, wrong, -torch.inf).logsumexp(dim=1)
    return -torch.logaddexp(others, torch.full_like(others, math.log(slack))) if slack else -others
