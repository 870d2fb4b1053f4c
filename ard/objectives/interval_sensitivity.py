"""Interval sensitivity: a term for any method and a small student, by how much a box of images can move its logits."""

import torch
from torch import Tensor, nn

from ard.core.errors import UserError
from ard.core.modes import in_mode
from ard.core.ranges import above, at_least
from ard.models.building import some_images
from ard.models.intervals import interval_bounds
from ard.objectives.base import Composed, Objective, Pair, RunFacts
from ard.objectives.pgd_at import PGDAT

LEAST = 1e-12  # of a width, so that it has a logarithm
MOST = 1e6  # of the widths at the start, in units of what the logits differ between images


class IntervalSensitivity(Composed):
    """The sensitivity of Wang et al. 2018, arXiv:1810.11726, as a penalty: the volume of an interval bound of the logits.

    Attack loss: that of `base`.
    Training loss: that of `base` + λ mean log(u_k − l_k), a scalar, over images and classes k: l and u bound the logits of
    S(x̃) over all x̃ in [0, 1] within `reach` eps of x in every pixel, whatever the norm of the threat. A mean of logarithms
    stands for the volume, which neither float32 nor the learning rate could follow. BatchNorm divides by the deviation of
    the batch's middles, so that no scale before one is taken for robustness. Costs about two passes over clean images.

    Interval bounds widen by a factor with each layer, so they are for networks of few layers, and are far from tight already
    at eps / 10. The paper's search of minima by basin hopping is not here.

    Args:
        base: The method; PGD-AT by default.
        strength: λ, at least 0.
        reach: The box in units of the run's eps, above 0, whatever a step's eps is.

    Raises:
        UserError: For numbers out of range; for a student so deep that its first bounds are a million times as wide as its
            logits differ between images; for one with parts that have no bounds, such as attention.
    """

    def __init__(self, *, base: Objective | None = None, strength: float = 0.05, reach: float = 0.1) -> None:
        super().__init__(base or PGDAT())
        at_least(0, strength=strength)
        above(0, reach=reach)
        self.strength, self.reach = strength, reach
        self.radius = nn.Buffer(torch.tensor(0.0))

    @torch.no_grad()
    def setup(self, run: RunFacts) -> None:
        self.radius.fill_(self.reach * run.threat.eps)
        x = some_images(run.student, 8, run.image_shape)
        with in_mode(run.student):
            spread = run.student(x).std(dim=0).mean()
        bounds = interval_bounds(run.student, x, self.radius)
        ratio = float((bounds.upper - bounds.lower).mean() / spread.clamp_min(LEAST))
        if not ratio <= MOST:
            raise UserError(
                f"interval bounds of {type(run.student).__name__} are {ratio:.0e} times as wide as its logits differ "
                f"between images, they say nothing: expected a network of fewer layers, or at most {MOST:.0e}"
            )

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:
        attack_loss, training_loss = self.base(student, teacher, x, y)

        def bounded(x_adv: Tensor) -> dict[str, Tensor]:
            bounds = interval_bounds(student, x, self.radius, of_batch=student.training)
            width = (bounds.upper - bounds.lower).clamp_min(LEAST).log().mean()
            return self.with_own(training_loss(x_adv), interval=self.strength * width)

        return attack_loss, bounded
