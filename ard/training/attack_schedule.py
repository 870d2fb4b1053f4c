"""The attacks that an engine makes, and that of training while its radius rises, or the number of its steps."""

from ard.attacks import Attack, AttackFactory, Ball
from ard.core.errors import UserError
from ard.training.step import Search, unattacked


def attack_of(make: AttackFactory, threat: Ball, name: str) -> Attack:
    """The attack within the threat; raises UserError where `make`, called `name` by the user, does not make one."""
    if "ball" in getattr(make, "keywords", {}):
        raise UserError(
            f"{name} has a ball of its own: expected it as the threat, threat=ard.L2(0.5), and none in the attack"
        )
    makes = callable(make) and not isinstance(make, Attack)
    attack = make(ball=threat) if makes else make
    if not (makes and isinstance(attack, Attack)):
        raise UserError(
            f"{name} {'makes' if makes else 'is'} a {type(attack).__name__}: expected what makes an "
            "ard.attacks.Attack of the threat, such as partial(PGD, steps=7)"
        )
    return attack


class AttackSchedule:
    """Gives the attack within a ball, in so many steps: built once for each, since its steps and starts scale with both.

    Args:
        make: Builds an attack for a ball.
        threat: The whole threat.
        whole: The attack within it, with all its steps.
        first_steps: With how many it will begin; None: with all.

    Raises:
        UserError: Where it has not so many.
    """

    def __init__(self, make: AttackFactory, threat: Ball, whole: Attack, first_steps: int | None = None) -> None:
        if first_steps is not None and first_steps > whole.steps:
            raise UserError(
                f"first_steps = {first_steps}: the attack is {type(whole).__name__} of {whole.steps} in all; "
                f"expected one of at least {first_steps}"
            )
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
