"""What each suite runs: a list of adversaries, cheapest first."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from ard.attacks import FGSM, L2, PGD, Ball, Linf
from ard.core.errors import UserError
from ard.evaluation.adversaries import (
    Adversary,
    Goal,
    GradientAdversary,
    Noise,
    Squares,
    away_from,
    targeted,
    through,
    untargeted,
)
from ard.evaluation.bpda import BPDA, modules_with_wrong_gradient
from ard.evaluation.corruptions import corruptions
from ard.evaluation.library_attacks import TARGETED, autoattack, torch_attack
from ard.evaluation.request import THROUGH_TEACHER, teacher_losses
from ard.losses import cross_entropy, dlr, margin

CURVE = (0.25, 0.5, 2.0, 4.0)  # radii in units of eps; 0 is the clean image and 1 the threat itself
FAR = 0.2  # PGD-20 above AutoAttack: more asks for an explanation
MORE = ("CW-100 × 3", "Targeted × 3", "BPDA", "Squares × 5,000")  # what is run to find it
L2_OF_LINF = 0.5 / (8 / 255) / math.sqrt(3 * 32 * 32)  # the field's pair on CIFAR: 8/255 and 0.5


@dataclass(frozen=True, kw_only=True)
class Given:
    """What the user adds: models to transfer from, a teacher to attack through, a control, more attacks by name."""

    transfer: dict[str, nn.Module] = field(default_factory=dict)
    teacher: nn.Module | None = None
    temperature: float = 1.0
    undefended: nn.Module | None = None
    attacks: Sequence[str] = ()
    published: float | None = None  # AutoAttack accuracy of these weights, as others report it
    best_known: float | None = None  # robust accuracy of the best public network of this class
    teacher_acc: float | None = None  # robust accuracy in the teacher's own record

    @property
    def models(self) -> list[nn.Module]:
        """Every network that an attack may call."""
        return [model for model in (*self.transfer.values(), self.teacher, self.undefended) if model is not None]


def pgd(
    ball: Ball, steps: int, *, loss: Callable = cross_entropy, name: str = "", runs: int = 1, **place: object
) -> GradientAdversary:
    """PGD with a step of eps/4 that keeps the best point of its path, from `runs` random starts."""
    goals = [untargeted(loss)] * runs
    return _by_pgd(name or f"PGD-{steps}", ball, steps, loss.__name__, goals, **place)


def basic(ball: Ball) -> list[Adversary]:
    """FGSM, PGD-20 and a 30-step PGD on the margin loss (CW-Linf as the field reports it)."""
    fgsm = GradientAdversary(
        name="FGSM", ball=ball, attack=FGSM(ball), loss="cross_entropy", goals=[untargeted(cross_entropy)]
    )
    return [fgsm, pgd(ball, 20), pgd(ball, 30, loss=margin, name="CW")]


def quick(ball: Ball, num_classes: int, given: Given, pixels: int) -> list[Adversary]:  # noqa: ARG001
    """The basic attacks; on every second image a short attack with targets and a short one without gradients."""
    front = basic(ball)
    names = tuple(a.name for a in front)
    aimed = _targeted(ball, num_classes, names, ranks=3, steps=20, every=2)
    return [*front, aimed, Squares(name="Squares", ball=ball, queries=300, after=(*names, aimed.name), every=2)]


def standard(ball: Ball, num_classes: int, given: Given, pixels: int) -> list[Adversary]:  # noqa: ARG001
    """The basic attacks, PGD-100 and AutoAttack."""
    return [*basic(ball), pgd(ball, 100), *autoattack(ball, num_classes)]


def full(ball: Ball, num_classes: int, given: Given, pixels: int) -> list[Adversary]:
    """standard, more runs of each kind of attack, attacks that should fool the model on no further image, and the probes."""
    front = standard(ball, num_classes, given, pixels)
    if num_classes >= 3:
        front += [pgd(ball, 100, loss=dlr, name="DLR", after=("PGD-20", "PGD-100"))]
    front += [pgd(ball, 100, name="PGD-100 × 5", runs=5, after=("PGD-100",))]
    front += [pgd(ball, 100, name="PGD-100 × 10", runs=5, after=("PGD-100", "PGD-100 × 5"))]
    untargeted_ones = tuple(a.name for a in front if a.name not in TARGETED and a.name != "Square")
    front += [_targeted(ball, num_classes, untargeted_ones)]
    gradients = tuple(a.name for a in front if a.name != "Square")
    return front + _teacher_transfer_noise(ball, given, gradients) + probes(ball, pixels)


def _teacher_transfer_noise(ball: Ball, given: Given, gradients: tuple[str, ...]) -> list[Adversary]:
    """An attack through the teacher; then, on images that withstood every gradient attack, transfer and noise."""
    adversaries: list[Adversary] = []
    if given.teacher is not None:
        temperatures = sorted({1.0, given.temperature})
        goals = [away_from(given.teacher, temperature) for temperature in temperatures]
        adversaries += [_pgd_30(THROUGH_TEACHER, ball, goals, teacher_losses(given.temperature), gradients)]
        gradients += (THROUGH_TEACHER,)
    for name, source in given.transfer.items():
        adversaries += [_pgd_30(f"Transfer {name}", ball, [through(source)], "margin", gradients)]
    return [*adversaries, Noise(name="Noise", ball=ball, draws=100, after=gradients)]


def probes(ball: Ball, pixels: int) -> list[Adversary]:
    """Evaluation only: PGD-20 at other radii and in a norm the threat does not name, and common corruptions."""
    radii = [pgd(scaled(ball, factor), 20, name=f"PGD-20 at {factor:g} eps", probe=True) for factor in CURVE]
    factor = L2_OF_LINF * math.sqrt(pixels)
    unseen = L2(eps=ball.eps * factor) if ball.norm == "Linf" else Linf(eps=min(0.5, ball.eps / factor))
    return [*radii, pgd(unseen, 20, name=f"PGD-20 {unseen.norm} {unseen.eps:.3g}", probe=True), *corruptions()]


def scaled(ball: Ball, factor: float) -> Ball:
    """The same norm at another radius, at most the 0.5 at which any image can be made solid grey in Linf."""
    eps = ball.eps * factor
    return type(ball)(eps=min(eps, 0.5) if ball.norm == "Linf" else eps)


def more_effort(model: nn.Module, x: Tensor, ball: Ball, num_classes: int, front: Sequence[Adversary]) -> list[Adversary]:
    """What may explain a PGD-20 far above AutoAttack: restarts, targets, the identity for wrong gradients, more queries."""
    more: list[Adversary] = [
        pgd(ball, 100, loss=margin, name="CW-100 × 3", runs=3, after=("CW",)),
        replace(_targeted(ball, num_classes, ("PGD-20", "CW"), steps=100), name="Targeted × 3"),
    ]
    if pieces := modules_with_wrong_gradient(model, x):
        more.append(BPDA.of(pgd(ball, 100, loss=margin, name="BPDA"), pieces))
    names = {a.name for a in front}
    fresh = [a for a in more if a.name not in names]
    everything = tuple(a.name for a in (*front, *fresh) if not a.probe)
    return [*fresh, Squares(name="Squares × 5,000", ball=ball, queries=5000, after=everything)]


SUITES: dict[str, Callable[[Ball, int, Given, int], list[Adversary]]] = {"quick": quick, "standard": standard, "full": full}


def adversaries_of(suite: str, ball: Ball, num_classes: int, given: Given, pixels: int) -> list[Adversary]:
    """The suite's adversaries and those the user named; raises UserError for a name that does not exist."""
    check_suite(suite)
    own = SUITES[suite](ball, num_classes, given, pixels)
    requested = [torch_attack(name, ball, num_classes) for name in dict.fromkeys(given.attacks)]
    attacks = _behind([a for a in own if not a.probe], requested)
    return attacks + [a for a in own if a.probe]


def check_suite(name: str) -> None:
    """Raises UserError for a suite that does not exist."""
    if name not in SUITES:
        raise UserError(f"suite {name!r}: expected one of {', '.join(SUITES)}")


def _behind(front: Sequence[Adversary], more: Sequence[Adversary]) -> list[Adversary]:
    """`more` after `front`, each shown only the images that withstood all attacks before it."""
    placed = list(front)
    for adversary in more:
        placed.append(replace(adversary, after=tuple(a.name for a in placed)))
    return placed


def _targeted(
    ball: Ball, num_classes: int, after: tuple[str, ...], ranks: int = 9, steps: int = 30, every: int = 1
) -> GradientAdversary:
    goals = [targeted(rank) for rank in range(1, min(ranks, num_classes - 1) + 1)]
    return _by_pgd("Targeted", ball, steps, "targeted margin", goals, after=after, every=every)


def _pgd_30(name: str, ball: Ball, goals: Sequence[Goal], loss: str, after: tuple[str, ...] = ()) -> GradientAdversary:
    return _by_pgd(name, ball, 30, loss, goals, after=after)


def _by_pgd(name: str, ball: Ball, steps: int, loss: str, goals: Sequence[Goal], **place: object) -> GradientAdversary:
    """With a step of eps/4, and the best point of the path."""
    attack = PGD(ball, steps=steps, relative_step=0.25, keep_best=True)
    return GradientAdversary(name=name, ball=ball, attack=attack, loss=loss, goals=goals, **place)  # type: ignore[arg-type]
