"""Region adversarial training: in the place of an attack, one stored perturbation a class, which is looked up."""

import torch
from torch import Tensor, nn

from ard.core.ranges import at_least
from ard.losses import AttackLoss, cross_entropy
from ard.objectives.base import Composed, Objective, Pair, RunFacts
from ard.objectives.pgd_at import PGDAT


class RegionAT(Composed):
    """Region adversarial training (RAT), Wang, Tang and Yue 2020, arXiv:2008.07838, read in its abstract alone.

    Attack loss: none; what the run names as its attack is not asked. Each image meets x' = x + v_t, kept to [0, 1]: a
    perturbation of the whole class t, one of those other than its own, which take turns.
    Training loss: that of `base` at x'.
    After the first step of each epoch every v_t, from where it stood, takes `steps` steps down mean CE(S(x + v_t), t) over
    the images of that step whose class is not t, each of 2.5 eps / steps along the threat's steepest direction, kept in its
    ball: steps · C forward and backward passes an epoch, and none in any other step. v is 0 before. On several devices each
    begins the next epoch with what the first one found.

    No defence by itself: perturbations that know no image are weak, and only attacks that do, such as PGD and AutoAttack,
    say what it is worth.

    Args:
        base: The method, whose own attack is left out; PGD-AT by default.
        steps: At least 1.

    Raises:
        UserError: For no steps, and for a base that attacks nothing.
    """

    def __init__(self, *, base: Objective | None = None, steps: int = 5) -> None:
        super().__init__(base or PGDAT())
        at_least(1, steps=steps)
        self.steps = steps
        self.table, self.turn = nn.Buffer(torch.empty(0)), nn.Buffer(torch.tensor(0))

    def setup(self, run: RunFacts) -> None:
        self.threat = run.threat
        self.table = nn.Buffer(torch.zeros(run.num_classes, *run.image_shape, device=self.table.device))

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:
        found, training_loss = self.base(student, teacher, x, y)
        attack_loss = self.needed(found)
        classes = y if y.ndim == 1 else y.argmax(dim=1)
        moves = self.table[self.targets(classes)].to(x.dtype)
        centre = AttackLoss.centre_of(attack_loss, x)
        moved = (centre + moves.repeat(len(centre) // len(x), 1, 1, 1)).clamp(0, 1)
        moved = AttackLoss.of(attack_loss).kept(moved, centre)
        self._shown = x, classes
        return None, lambda _: training_loss(moved)

    def targets(self, classes: Tensor) -> Tensor:
        """A class other than its own for each image, shape (batch,); each of them in turn."""
        others = (self.turn + torch.arange(len(classes), device=classes.device)) % (len(self.table) - 1)
        return (classes + 1 + others) % len(self.table)

    def after_step(self, terms: dict[str, Tensor], student: nn.Module) -> None:  # noqa: ARG002
        self.turn.add_(1)
        if self.step.batch == 0:
            for target in range(len(self.table)):
                self.table[target] = self._sought(student, target)

    def _sought(self, student: nn.Module, target: int) -> Tensor:
        """v_t, after its steps."""
        (x, classes), move = self._shown, self.table[target : target + 1]
        others, wanted = (classes != target).to(x.dtype), torch.full_like(classes, target)
        ball = self.threat.scaled(self.step.eps / self.threat.eps if self.threat.eps else 1)
        length = 2.5 * ball.eps / self.steps
        for _ in range(self.steps):
            with torch.enable_grad():
                move = move.detach().requires_grad_()
                loss = (others * cross_entropy(student((x + move).clamp(0, 1)), wanted)).sum()
                (gradient,) = torch.autograd.grad(loss, move)
            move = ball.shrink(move.detach() - length * ball.steepest(gradient))
        return move[0]
