"""Fair-ARD: distillation with more weight on the classes that attacks fool first."""

import torch
from torch import Tensor, nn

from ard.core.ranges import above, at_least, share
from ard.losses import AttackLoss, cross_entropy, kl
from ard.objectives.base import Objective, Pair, RunFacts


class FairARD(Objective):
    """Fair-ARD, Yue et al., NeurIPS 2023.

    Attack loss: CE(S(x'), y); at how many points of the attack's path the student is still right is counted.
    Training loss: mean w_y (α t² KL(T(x)/t ‖ S(x')/t) + (1 − α) CE(S(x), y)). The weight of class k in an epoch is κ_k^−β,
    scaled to sum to the number of classes and then clipped; κ_k is the mean count of its images in the epoch before. A class
    that an epoch does not show keeps its weight.

    Args:
        alpha: Weight of the teacher, α.
        temperature: t.
        beta: β; at 0 all classes weigh the same.
        lightest: The lowest weight.
        heaviest: The highest weight.
        mean_over_classes: Whether to divide the KL by the number of classes, as the released code does.
    """

    needs_teacher = True
    asks_only_x = True

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
        share(alpha=alpha)
        above(0, temperature=temperature)
        at_least(lightest, heaviest=heaviest)
        self.alpha, self.temperature, self.mean_over_classes = alpha, temperature, mean_over_classes
        self.beta, self.lightest, self.heaviest = beta, lightest, heaviest
        self.weights, self.survived, self.shown = (nn.Buffer(torch.empty(0)) for _ in range(3))

    def setup(self, run: RunFacts) -> None:
        device = self.weights.device
        self.weights = nn.Buffer(torch.ones(run.num_classes, device=device))
        self.survived, self.shown = (nn.Buffer(torch.zeros(run.num_classes, device=device)) for _ in range(2))

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:
        target, t, weights = teacher(x).detach(), self.temperature, self.weights[y]
        scale = self.alpha * t**2 / (target.shape[1] if self.mean_over_classes else 1)

        def observed(x_adv: Tensor) -> tuple[Tensor, Tensor]:
            logits = student(x_adv)
            return cross_entropy(logits, y), logits.argmax(dim=1) == y

        def training_loss(x_adv: Tensor) -> dict[str, Tensor]:
            terms = {"kl": scale * (weights * kl(target, student(x_adv), t)).mean()}
            if self.alpha < 1:
                hard = cross_entropy(student(x), y, self.label_smoothing)
                terms["ce"] = (1 - self.alpha) * (weights * hard).mean()
            survived = x.new_zeros(len(self.weights))
            shown = survived.index_add(0, y, torch.ones_like(y, dtype=x.dtype))
            if attack_loss.seen is not None:
                survived.index_add_(0, y, attack_loss.seen.to(x.dtype))
            return {**terms, "survived": survived, "shown": shown}

        attack_loss = AttackLoss(observed)
        return attack_loss, training_loss

    def after_step(self, terms: dict[str, Tensor], student: nn.Module) -> None:  # noqa: ARG002
        self.survived.add_(terms["survived"])
        self.shown.add_(terms["shown"])

    def on_epoch_end(self) -> None:
        seen = self.shown > 0
        inverse = (self.survived / self.shown + 1e-5) ** -self.beta
        scaled = inverse * seen.sum() / inverse.where(seen, 0).sum()
        self.weights.copy_(scaled.clamp(self.lightest, self.heaviest).where(seen, self.weights))
        self.survived.zero_()
        self.shown.zero_()
