"""SAAD: distillation that weighs the images on which the attacked student's examples leave the teacher unsure."""

import torch
from torch import Tensor, nn

from ard.losses import at_least_float32, kl, log_softmax
from ard.objectives.base import Objective, Pair


class SAAD(Objective):
    """SAAD, Lee et al., TMLR 2026, arXiv:2512.10275.

    Attack loss: KL(T̃(x') ‖ S(x')), where T̃_y(x') = T_y(x) + ∇T_y(x)·(x' − x) and T̃ = T(x) elsewhere: the attack also
    follows the teacher's slope at x.
    Training loss: mean w (KL(T(x') ‖ S(x')) + α e KL(T(x') − T(2x − x') ‖ S(x') − S(2x − x'))) + β (1 − ŵ) KL(T(x) ‖ S(x)),
    where e is the progress of training. With H the entropies of T(x') in the batch, w = `sharpness` (H − min H) and
    ŵ = w / max w. Logits are subtracted before the softmax. The teacher is a constant. On several devices each has the least
    and the largest of its own images.

    Args:
        alpha: α.
        beta: β; at 0 clean images have no part.
        sharpness: How much more the images count on which the teacher is unsure.
    """

    needs_teacher = True
    needs_teacher_gradient = True
    follows_progress = True

    def __init__(self, *, alpha: float = 1.0, beta: float = 0.0, sharpness: float = 5.0) -> None:
        super().__init__()
        self.alpha, self.beta, self.sharpness = alpha, beta, sharpness

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:
        true = y[:, None]
        with torch.enable_grad():
            at = x.detach().requires_grad_()
            logits = teacher(at)
            (slope,) = torch.autograd.grad(logits.gather(1, true).sum(), at)
        logits = at_least_float32(logits.detach())  # in bfloat16 a small rise would be none

        def attack_loss(x_adv: Tensor) -> Tensor:
            rise = (slope * (x_adv - x)).flatten(1).sum(dim=1, keepdim=True)
            return kl(logits.scatter_add(1, true, rise.to(logits.dtype)), student(x_adv))

        def training_loss(x_adv: Tensor) -> dict[str, Tensor]:
            opposite = 2 * x - x_adv
            with torch.no_grad():
                target = teacher(x_adv)
                target_change = target - teacher(opposite)
                unsure = _entropy(target) - _entropy(target).min()
            adv, weights = student(x_adv), self.sharpness * unsure
            change = adv - student(opposite)
            terms = {
                "kl": (weights * kl(target, adv)).mean(),
                "igdm": self.alpha * self.progress * (weights * kl(target_change, change)).mean(),
            }
            if self.beta:
                sure = 1 - unsure / unsure.max().clamp_min(torch.finfo(unsure.dtype).tiny)
                terms["kl_clean"] = self.beta * (sure * kl(logits, student(x))).mean()
            return terms

        return attack_loss, training_loss


def _entropy(logits: Tensor) -> Tensor:
    log_p = log_softmax(logits)
    return -(log_p.exp() * log_p).sum(dim=1)
