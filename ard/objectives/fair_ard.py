"""Fair-ARD: distillation that weighs the classes that fall first."""

import torch
from torch import Tensor, nn

from ard.losses import AttackLoss, cross_entropy, kl
from ard.objectives.base import Objective, Pair, RunFacts


class FairARD(Objective):
    """Yue et al., NeurIPS 2023. inner: CE(S(x'), y), counting the points of the path at which the student is still right.

    outer: mean w_y (α t² KL(T(x)/t ‖ S(x')/t) + (1 − α) CE(S(x), y)). Class k's weight in an epoch is κ_k^−β, scaled to sum
    to the number of classes and then clipped to [`lightest`, `heaviest`]; κ_k is the mean count of its images in the epoch
    before. `mean_over_classes` divides the KL by the number of classes, as the released code does.
    """

    needs_teacher = True

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        temperature: float = 30.0,
        beta: float = 2.0,
        lightest: float = 5 / 6,
        heaviest: float = 5 / 2,
        mean_over_classes: bool = False,
    ) -> None:
        super().__init__()
        self.alpha, self.temperature, self.mean_over_classes = alpha, temperature, mean_over_classes
        self.beta, self.lightest, self.heaviest = beta, lightest, heaviest
        self.weights, self.survived, self.class_counts = (nn.Buffer(torch.empty(0)) for _ in range(3))

    def setup(self, run: RunFacts) -> None:
        device = self.weights.device
        self.weights = nn.Buffer(torch.ones(run.num_classes, device=device))
        self.survived = nn.Buffer(torch.zeros(run.num_classes, device=device))
        self.class_counts = nn.Buffer(torch.tensor(run.class_counts, device=device))

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:
        target, t, weights = teacher(x).detach(), self.temperature, self.weights[y]
        scale = self.alpha * t**2 / (target.shape[1] if self.mean_over_classes else 1)

        def inner(x_adv: Tensor) -> tuple[Tensor, Tensor]:
            logits = student(x_adv)
            return cross_entropy(logits, y), logits.argmax(dim=1) == y

        def outer(x_adv: Tensor) -> dict[str, Tensor]:
            terms = {"kl": scale * (weights * kl(target, student(x_adv), t)).mean()}
            if self.alpha < 1:
                hard = cross_entropy(student(x), y, self.label_smoothing)
                terms["ce"] = (1 - self.alpha) * (weights * hard).mean()
            survived = x.new_zeros(len(self.weights))
            if loss.seen is not None:
                survived.index_add_(0, y, loss.seen.to(x.dtype))
            return {**terms, "survived": survived}

        loss = AttackLoss(inner)
        return loss, outer

    def after_step(self, terms: dict[str, Tensor], student: nn.Module) -> None:  # noqa: ARG002
        self.survived.add_(terms["survived"])

    def on_epoch_end(self) -> None:
        mean_count = self.survived / self.class_counts
        inverse = (mean_count + 1e-5) ** -self.beta
        self.weights.copy_((inverse * len(inverse) / inverse.sum()).clamp(self.lightest, self.heaviest))
        self.survived.zero_()
