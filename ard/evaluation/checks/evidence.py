"""What checks use: the verdicts of all images, and the model itself on a sample of them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from ard.attacks import Ball, ascent
from ard.core.randomness import keyed_generator
from ard.evaluation.adversaries import Adversary, LabelLoss
from ard.evaluation.cascade import evaluation_mode, predict
from ard.evaluation.recorded_calls import Copies
from ard.evaluation.suites import Given
from ard.evaluation.verdicts import Verdicts

LIBRARY = [f"torchattacks.{name}" for name in ("Square", "SPSA")]
BLIND = ("Square", "Squares", "Squares × 5,000", "Noise", *LIBRARY)  # attacks that use no gradient of the model
SAMPLE = 100  # images for checks that run the model again


@dataclass(frozen=True)
class Evidence:
    """One evaluation, as the checks see it."""

    model: nn.Module
    x: Tensor
    y: Tensor
    ball: Ball
    verdicts: Verdicts
    adversaries: Sequence[Adversary]
    given: Given
    seed: int
    num_classes: int
    untouched: Copies | None = None  # None: of the model as it is now
    remembered: dict[str, str] | None = None  # the state of the model's Python attributes before its first call
    sample_size: int = SAMPLE

    @cached_property
    def copies(self) -> Copies:
        """Of the model before its first call."""
        return self.untouched or Copies(self.model)

    @property
    def n(self) -> int:
        return len(self.y)

    @cached_property
    def sample(self) -> tuple[Tensor, Tensor]:
        """Up to `sample_size` images, evenly spread: sorted data would give one class."""
        chosen = torch.linspace(0, self.n - 1, min(self.sample_size, self.n)).round().long().to(self.x.device)
        return self.x[chosen], self.y[chosen]

    @property
    def attacks(self) -> list[str]:
        """The names of the attacks over which the worst case is taken."""
        return [a.name for a in self.adversaries if not a.probe]

    @property
    def white_box(self) -> list[str]:
        """Attacks that follow the model's own gradient."""
        return [name for name in self.attacks if name not in BLIND and not name.startswith("Transfer")]

    def attacked_indices(self, names: Collection[str]) -> Tensor:
        """The indices of the images that all of these attacks were for: every image, or every second."""
        every = max([a.every for a in self.adversaries if a.name in names], default=1)
        return torch.arange(0, self.n, every)

    @property
    def gap(self) -> float | None:
        """PGD-20 minus AutoAttack; without AutoAttack minus the worst case, over the images that every attack was for."""
        if "PGD-20" not in self.attacks:
            return None
        if (autoattack := self.verdicts.autoattack_acc) is not None:
            return self.verdicts.accuracy("PGD-20") - autoattack
        if not {"Squares", "Square", "Targeted"} & set(self.attacks):
            return None
        lost = self.verdicts.correct["PGD-20"] & ~self.verdicts.worst
        return float(lost[self.attacked_indices(self.attacks)].double().mean())

    def left_after(self, names: Collection[str]) -> float:
        """The share of images that are right, clean and after each of these attacks."""
        return float((self.verdicts.correct["clean"] & ~self._fooled_by(names)).double().mean())

    def fooled_only_by(self, names: Collection[str], others: Collection[str]) -> int:
        """How many images are misclassified after one of `names` and after none of `others`."""
        return int((self._fooled_by(names) & ~self._fooled_by(others)).sum())

    def _fooled_by(self, names: Collection[str]) -> Tensor:
        """Which images these attacks fooled themselves: in `correct` those already fooled by earlier attacks count, too."""
        correct = self.verdicts.correct
        fooled = torch.zeros_like(correct["clean"])
        for adversary in self.adversaries:
            if adversary.name in names:
                shown = torch.stack([correct[name] for name in ("clean", *adversary.after)]).all(dim=0)
                fooled |= shown & ~correct[adversary.name]
        return fooled

    def correct_after(self, adversary: Adversary, model: nn.Module | None = None) -> Tensor:
        """Which images of the sample a model (default: the one evaluated) gets right after one attack on all of them."""
        model, (x, y) = model or self.model, self.sample
        with evaluation_mode(model, *self.given.models):
            generator = keyed_generator(x.device, "check", adversary.name, self.seed)
            x_adv = adversary(model, x, y, generator).detach()
            return predict(model, x_adv)[0] == y

    def gradients(self, loss: LabelLoss) -> Tensor:
        """The gradient of the loss of each image of the sample, at the clean image."""
        x, y = self.sample
        with evaluation_mode(self.model):
            return ascent(lambda x_adv: loss(self.model(x_adv), y), x)[1]

    def logits(self) -> Tensor:
        """The model's logits on the sample."""
        with evaluation_mode(self.model), torch.no_grad():
            return self.model(self.sample[0])
