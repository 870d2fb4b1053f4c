"""Indirect gradient matching: a term for any method, under which the student's input gradient follows the teacher's."""

from torch import Tensor, nn

from ard.losses import AttackLoss, kl
from ard.objectives.adaad import AdaAD
from ard.objectives.base import Composed, Objective, Pair


class IGDM(Composed):
    """IGDM, Lee, Cho and Kim, ICLR 2025, arXiv:2312.03286: a term for any method.

    Attack loss: that of `base`; what its attack finds gives δ = x' − x.
    Training loss: that of `base` + α progress mean KL(T(x + βδ) − T(x − γδ) ‖ S(x + βδ) − S(x − γδ)). Where the attack
    searches several points for an image, the mean runs over all of them.

    Args:
        base: The method; AdaAD by default.
        alpha: Weight of the term at the end of training, α.
        beta: β.
        gamma: γ.

    Raises:
        UserError: For a base that attacks nothing, where δ and the term would be 0, or that has a term igdm.
    """

    follows_progress = True

    def __init__(self, *, base: Objective | None = None, alpha: float = 1.0, beta: float = 1.0, gamma: float = 1.0) -> None:
        super().__init__(base or AdaAD())
        self.needs_teacher, self.asks_only_x = True, False
        self.alpha, self.beta, self.gamma = alpha, beta, gamma

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:
        found, training_loss = self.base(student, self.base.wanted_teacher(teacher), x, y)
        attack_loss = self.needed(found)
        centre = AttackLoss.centre_of(attack_loss, x)

        def matched(x_adv: Tensor) -> dict[str, Tensor]:
            delta = x_adv - centre
            ahead, behind = centre + self.beta * delta, centre - self.gamma * delta
            target = (teacher(ahead) - teacher(behind)).detach()
            divergence = kl(target, student(ahead) - student(behind)).mean()
            return self.with_own(training_loss(x_adv), igdm=self.alpha * self.progress * divergence)

        return attack_loss, matched
