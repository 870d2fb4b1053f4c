"""Knowledge distillation on clean images: how much robustness is transferred without any attack?"""

from torch import Tensor, nn

from ard.core.ranges import above, share
from ard.losses import kl
from ard.objectives.base import Objective, Pair


class KD(Objective):
    """Knowledge distillation on clean images, Hinton et al. 2015, arXiv:1503.02531.

    There is no attack; with a robust teacher it is the comparison in the ARD paper.
    Training loss: mean α t² KL(T(x)/t ‖ S(x)/t) + (1 − α) CE(S(x), y).

    Args:
        alpha: Weight of the teacher, α; at 1 no labels are needed.
        temperature: t.
    """

    needs_teacher = True
    asks_only_x = True

    def __init__(self, *, alpha: float = 1.0, temperature: float = 30.0) -> None:
        super().__init__()
        share(alpha=alpha)
        above(0, temperature=temperature)
        self.alpha, self.temperature = alpha, temperature
        self.labels = "soft" if alpha < 1 else "none"

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:
        target, t = teacher(x).detach(), self.temperature

        def training_loss(_: Tensor) -> dict[str, Tensor]:
            logits = student(x)
            terms = {"kl": self.alpha * t**2 * kl(target, logits, t).mean()}
            if self.alpha < 1:
                terms["ce"] = (1 - self.alpha) * self.hard_label(logits, y)
            return terms

        return None, training_loss
