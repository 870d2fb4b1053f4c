"""The attack of training while its radius rises, or the number of its steps."""

from ard.attacks import Attack, AttackFactory, Ball
from ard.core.errors import UserError
from ard.training.step import Search, unattacked


class AttackSchedule:
    """Gives the attack within a ball, in so many steps: built once for each, since its steps and starts scale with both.

    Args:
        make: Builds an attack for a ball.
        threat: The whole threat.
        whole: The attack within it, with all its steps.
        first_steps: With how many it will begin; None: with all.

    Raises:
        UserError: Where it has not so many, or is none of ard.attacks.
    """

    def __init__(self, make: AttackFactory, threat: Ball, whole: Attack, first_steps: int | None = None) -> None:
        if first_steps is not None and not (isinstance(whole, Attack) and first_steps <= whole.steps):
            found = f"{type(whole).__name__} of {whole.steps} in all" if isinstance(whole, Attack) else "none of ard.attacks"
            raise UserError(f"first_steps = {first_steps}: the attack is {found}; expected one of at least {first_steps}")
        self.make, self.threat, self.whole = make, threat, whole
        self.asked: tuple[float, int | None] = (threat.eps, None)  # last, for this radius and this number of steps
        self.given: Search = whole

    def __call__(self, ball: Ball, steps: int | None = None) -> Search:
        """The attack, with all its steps where None are said; what leaves every image as it is for a radius of 0."""
        if ball is not self.threat and not ball.eps:
            return unattacked
        if self.asked != (ball.eps, steps):
            attack = self.whole if ball is self.threat else self.make(ball=ball)
            self.asked, self.given = (ball.eps, steps), attack if steps is None else attack.shortened(steps)
        return self.given
