"""ABSLD: soft labels that are sharper for the classes the student finds hard."""

import torch
from torch import Tensor, nn

from ard.core.ranges import above, at_least, share
from ard.losses import cross_entropy, kl
from ard.objectives.base import Objective, Pair, RunFacts


class ABSLD(Objective):
    """ABSLD, Zhao et al., NeurIPS 2024: RSLAD with two temperatures for each class, of the teacher alone.

    Attack loss: KL(T(x)/τ_y ‖ S(x')), where τ_y is the attacked temperature of the image's class.
    Training loss: mean α KL(T(x)/τ_y ‖ S(x')) + (1 − α) KL(T(x)/τ'_y ‖ S(x)).
    After an epoch τ_k ← clip(τ_k − η (R_k − R̄) / max|R − R̄|), where R_k is the mean cross entropy of the class's
    images in it, attacked for τ and clean for τ', and η falls with the learning rate. R̄ and max are over the classes that
    the epoch shows; another one keeps its temperatures.

    Args:
        alpha: Weight of the attacked images, α.
        step: η at the first learning rate.
        coolest: The lowest temperature.
        warmest: The highest temperature.
        falls_first: Whether η has fallen already where the temperatures move at the end of an epoch after which the learning
            rate is lower, as in the released script; otherwise it is what it was in the epoch.
        mean_over_classes: Whether to multiply by 1/10: the mean over classes of the released script, which is for CIFAR-10.
            (In other methods the option divides by the number of classes.)
    """

    needs_teacher = True
    asks_only_x = True

    def __init__(
        self,
        *,
        alpha: float = 5 / 6,
        step: float = 0.1,
        coolest: float = 0.5,
        warmest: float = 5.0,
        falls_first: bool = False,
        mean_over_classes: bool = False,
    ) -> None:
        super().__init__()
        share(alpha=alpha)
        above(0, coolest=coolest)
        at_least(coolest, warmest=warmest)
        self.alpha, self.scale = alpha, 0.1 if mean_over_classes else 1.0
        self.temperature_step, self.coolest, self.warmest = step, coolest, warmest
        self.falls_first = falls_first
        # Each has two rows: for the attacked and for the clean images.
        self.temperatures, self.risks = nn.Buffer(torch.empty(0)), nn.Buffer(torch.empty(0))
        self.shown = nn.Buffer(torch.empty(0))

    def setup(self, run: RunFacts) -> None:
        device = self.temperatures.device
        self.temperatures = nn.Buffer(torch.ones(2, run.num_classes, device=device))
        self.risks = nn.Buffer(torch.zeros(2, run.num_classes, device=device))
        self.shown = nn.Buffer(torch.zeros(run.num_classes, device=device))

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:
        logits = teacher(x).detach()
        for_adv, for_clean = (logits / temperatures[y, None] for temperatures in self.temperatures)

        def training_loss(x_adv: Tensor) -> dict[str, Tensor]:
            adv, clean = student(x_adv), student(x)
            return {
                "kl_adv": self.scale * self.alpha * kl(for_adv, adv).mean(),
                "kl_clean": self.scale * (1 - self.alpha) * kl(for_clean, clean).mean(),
                "risk_adv": self._of_each_class(cross_entropy(adv, y), y),
                "risk_clean": self._of_each_class(cross_entropy(clean, y), y),
                "shown": self._of_each_class(torch.ones_like(y, dtype=x.dtype), y),
            }

        return lambda x_adv: kl(for_adv, student(x_adv)), training_loss

    def _of_each_class(self, values: Tensor, y: Tensor) -> Tensor:
        return values.new_zeros(self.temperatures.shape[1]).index_add(0, y, values.detach())

    def after_step(self, terms: dict[str, Tensor], student: nn.Module) -> None:  # noqa: ARG002
        self.risks.add_(torch.stack([terms["risk_adv"], terms["risk_clean"]]))
        self.shown.add_(terms["shown"])

    def on_epoch_end(self) -> None:
        seen = self.shown > 0
        risks = (self.risks / self.shown).where(seen, 0)
        deviations = (risks - risks.sum(dim=1, keepdim=True) / seen.sum()).where(seen, 0)
        largest = deviations.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(risks.dtype).tiny)
        factor = self.step.next_lr_factor if self.falls_first else self.lr_factor
        self.temperatures.sub_(self.temperature_step * factor * deviations / largest)
        self.temperatures.clamp_(self.coolest, self.warmest)
        self.risks.zero_()
        self.shown.zero_()
