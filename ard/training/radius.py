"""The attack of training while its radius rises."""

from ard.attacks import Attack, AttackFactory, Ball
from ard.training.step import Search, unattacked


class AttackByRadius:
    """Gives the attack within a ball: built once for each radius, since its steps and starts scale with it.

    Args:
        make: Builds an attack for a ball.
        whole: That of the whole threat.
    """

    def __init__(self, make: AttackFactory, whole: Attack) -> None:
        self.make, self.whole, self.smaller = make, whole, whole

    def __call__(self, ball: Ball) -> Search:
        """The attack; for a radius that the schedule holds at 0 what leaves every image as it is."""
        if ball is self.whole.ball:
            return self.whole
        if not ball.eps:
            return unattacked
        if self.smaller.ball.eps != ball.eps:
            self.smaller = self.make(ball=ball)
        return self.smaller
