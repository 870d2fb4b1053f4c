"""The zoo: networks of a second, and a suite that runs everything of `full` in a tenth of its time.

Every model and attack that is broken on purpose is made of these; `raised` says which checks found it out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
import torch
from small_runs import digits
from torch import Tensor, nn

from ard.attacks import FGSM, PGD, Attack, Ball, Linf, frozen_mode
from ard.data import Digits, to_pixels
from ard.evaluation import suites
from ard.evaluation.adversaries import Adversary, Goal, Squares
from ard.evaluation.evaluation import Evaluation
from ard.evaluation.suites import SUITES, Given, full, quick
from ard.losses import cross_entropy

pyautoattack = pytest.importorskip("pyautoattack")

EPS = 0.15
BALL = Linf(eps=EPS)
WIDE = Linf(eps=0.22)  # noise alone fells some twenty of a hundred images, where 3 may fall by chance
GRADIENT_PARTS = ("APGD-CE", "APGD-T", "FAB-T")
Change = Callable[[nn.Module, Tensor], Tensor]


class Short(pyautoattack.AutoAttack):
    """AutoAttack with a fraction of its queries and steps."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.square.n_queries = 250
        self.apgd.n_iter = 30
        self.apgd_targeted.n_iter = self.fab.n_iter = 8


def shorten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every attack by gradients with at most 40 steps and two goals, the search with at most 300 queries."""
    by_pgd = suites._by_pgd

    def in_few_steps(name: str, ball: Ball, steps: int, loss: str, goals: Sequence[Goal], **place: object) -> Adversary:
        return by_pgd(name, ball, min(steps, 40), loss, goals[:2], **place)

    def in_few_queries(**given: Any) -> Adversary:
        return Squares(**{**given, "queries": min(given["queries"], 300)})

    monkeypatch.setattr(suites, "_by_pgd", in_few_steps)
    monkeypatch.setattr(suites, "Squares", in_few_queries)
    monkeypatch.setattr("pyautoattack.AutoAttack", Short)


def own(*arguments) -> list[Adversary]:
    """`full` without AutoAttack's gradients, which find what our own miss where those are broken."""
    kept = [a for a in full(*arguments) if a.name not in GRADIENT_PARTS]
    return [replace(a, after=tuple(name for name in a.after if name not in GRADIENT_PARTS)) for a in kept]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is evaluated, and the checks that must find it out."""

    finds: str
    model: Callable[[], nn.Module] | None = None  # None: the honest one
    given: Callable[[], Given] = Given
    data: Callable[[int], tuple[Tensor, Tensor]] = digits
    n: int = 100
    ball: Ball = BALL
    attack: Callable[[type[Attack]], type[Attack]] | None = None  # breaks PGD and FGSM
    suite: str = "quick"


def register(monkeypatch: pytest.MonkeyPatch) -> None:
    """The zoo's suites; `soundness` runs every check for a suite that it does not know."""
    shorten(monkeypatch)
    monkeypatch.setitem(SUITES, "short", full)
    monkeypatch.setitem(SUITES, "all checks", quick)
    monkeypatch.setitem(SUITES, "own", own)


def raised(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The checks that failed or warned, with what they said."""
    register(monkeypatch)
    if subject.attack is not None:
        monkeypatch.setattr("ard.evaluation.suites.PGD", subject.attack(PGD))
        monkeypatch.setattr("ard.evaluation.suites.FGSM", subject.attack(FGSM))
    model = honest() if subject.model is None else subject.model()
    with torch.random.fork_rng([]):
        torch.manual_seed(0)  # for the models that draw
        evaluation = Evaluation(model, *subject.data(subject.n), subject.ball, suite=subject.suite, given=subject.given())
        evaluation.judge()
        return findings(evaluation)


def findings(evaluation: Evaluation) -> dict[str, str]:
    """Of a finished evaluation: what failed or warned."""
    checks = evaluation.record().checks
    return {c.id: f"{c.verdict}: {c.reason} {c.value}" for c in checks if c.verdict in ("fail", "warn")}


class Through(nn.Module):
    """A network called by `change(network, x)`."""

    def __init__(self, network: nn.Module, change: Change) -> None:
        super().__init__()
        self.network, self.change = network, change

    def forward(self, x: Tensor) -> Tensor:
        return self.change(self.network, x)


def small(width: int = 8) -> nn.Module:
    """A CNN with BatchNorm for images (1, 8, 8)."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, padding=1, stride=2),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * width, 10),
    )


def honest() -> nn.Module:
    """PGD adversarial training: robust in truth."""
    return _fresh("honest")


def quickly_trained() -> nn.Module:
    """FGSM adversarial training."""
    return _fresh("FGSM-AT")


def undefended() -> nn.Module:
    """Ordinary training."""
    return _fresh("undefended")


def _fresh(name: str) -> nn.Module:
    network = small()
    network.load_state_dict(_state(name))
    return network.eval()


@cache
def _state(name: str) -> dict[str, Tensor]:
    attack = {"honest": PGD(BALL, steps=4, relative_step=0.4), "FGSM-AT": FGSM(BALL), "undefended": None}[name]
    with torch.random.fork_rng([]), torch.inference_mode(False), torch.enable_grad():  # a subject may ask inside its forward
        torch.manual_seed(0)
        return train(small(), attack, steps=80 if attack is None else 200).state_dict()


def train(network: nn.Module, attack: Attack | None, steps: int, batch: int = 128) -> nn.Module:
    images = Digits().training_images()
    x, y = to_pixels(images.pixels), images.labels
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, steps)
    for _ in range(steps):
        chosen = torch.randint(len(y), (batch,), generator=generator)
        images, labels = x[chosen], y[chosen]
        if attack is not None:
            with frozen_mode(network):
                images = attack(lambda x_adv, y=labels: cross_entropy(network(x_adv), y), images, generator)
        optimizer.zero_grad()
        cross_entropy(network(images), labels).mean().backward()
        optimizer.step()
        schedule.step()
    return network
