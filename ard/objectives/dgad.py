"""DGAD: the teacher is corrected where it errs, and where it errs on the clean image it teaches on that one."""

import torch
from torch import Tensor, nn

from ard.losses import kl, log_softmax
from ard.objectives.base import Objective, Pair


class DGAD(Objective):
    """DGAD, Park & Min, ECCV 2024.

    Attack loss: KL(T(x') ‖ S(x')), whose gradient goes through the teacher too, as AdaAD's.
    Training loss: α mean KL(T̂(x) ‖ S(x)) for images that the teacher gets wrong, KL(T̂(x') ‖ S(x')) for the others; and
    β mean ‖p(x) − p(x')‖₂, where p is the student's softmax. T̂ has the logits of the true and the likeliest class swapped
    where the likeliest is wrong.

    Args:
        alpha: Weight of the teacher, α.
        beta: β.
        mean_square: Whether to take the mean square of p(x) − p(x') over classes instead, as the released code does.
    """

    needs_teacher = True
    needs_teacher_gradient = True

    def __init__(self, *, alpha: float = 1.0, beta: float = 1.0, mean_square: bool = False) -> None:
        super().__init__()
        self.alpha, self.beta, self.mean_square = alpha, beta, mean_square

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:
        logits = teacher(x).detach()
        wrong, clean_target = logits.argmax(dim=1) != y, _corrected(logits, y)

        def training_loss(x_adv: Tensor) -> dict[str, Tensor]:
            with torch.no_grad():
                adv_target = _corrected(teacher(x_adv), y)
            clean, adv = student(x), student(x_adv)
            apart = log_softmax(clean).exp() - log_softmax(adv).exp()
            distance = apart.square().mean(dim=1) if self.mean_square else torch.linalg.vector_norm(apart, dim=1)
            return {
                "kl": self.alpha * torch.where(wrong, kl(clean_target, clean), kl(adv_target, adv)).mean(),
                "consistency": self.beta * distance.mean(),
            }

        return lambda x_adv: kl(teacher(x_adv), student(x_adv)), training_loss


def _corrected(logits: Tensor, y: Tensor) -> Tensor:
    """With the logits of the true and the likeliest class swapped; nothing moves where these are the same."""
    likeliest, true = logits.argmax(dim=1, keepdim=True), y[:, None]
    swapped = logits.scatter(1, likeliest, logits.gather(1, true))
    return swapped.scatter(1, true, logits.gather(1, likeliest))
