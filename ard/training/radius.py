"""The attack of training while its radius rises."""

from ard.attacks import AttackFactory, Ball
from ard.training.step import Search, unattacked


class AttackByRadius:
    """Gives the attack within a ball: built once for each radius, since its steps and starts scale with it.

    Args:
        make: Builds an attack for a ball.
        threat: The whole threat.
        whole: The attack within it.
    """

    def __init__(self, make: AttackFactory, threat: Ball, whole: Search) -> None:
        self.make, self.threat, self.whole = make, threat, whole
        self.eps, self.smaller = threat.eps, whole  # the radius that was asked for last, and its attack

    def __call__(self, ball: Ball) -> Search:
        """The attack; for a radius that the schedule holds at 0 what leaves every image as it is."""
        if ball is self.threat:
            return self.whole
        if not ball.eps:
            return unattacked
        if self.eps != ball.eps:
            self.eps, self.smaller = ball.eps, self.make(ball=ball)
        return self.smaller
