"""Tiny networks, discovery of concrete classes, and the one-line error: what several test files share."""

import importlib
import inspect
import pkgutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from ard.attacks import Linf
from ard.core.errors import UserError
from ard.objectives.base import RunFacts


def concrete(package: ModuleType, parent: type) -> list[type]:
    """Every class below `parent` that a module of `package` defines and that can be instantiated."""
    modules = [importlib.import_module(f"{package.__name__}.{m.name}") for m in pkgutil.iter_modules(package.__path__)]
    found = {
        value
        for module in modules
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, parent) and value.__module__ == module.__name__
    }
    return sorted((kind for kind in found if not inspect.isabstract(kind)), key=lambda kind: kind.__qualname__)


@contextmanager
def user_error(match: str) -> Iterator[pytest.ExceptionInfo]:
    """The block raises UserError, its message fits `match` and takes one line."""
    with pytest.raises(UserError, match=match) as caught:
        yield caught
    assert "\n" not in str(caught.value)


@contextmanager
def warned():
    """The warnings of ours that a user would see."""
    texts = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield texts
    texts += [str(warning.message) for warning in caught if warning.category is UserWarning and "/ard/" in warning.filename]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tiny_net(seed: int = 0, *, classes: int = 4, activation: type[nn.Module] = nn.ReLU) -> nn.Module:
    """A network with BatchNorm for images of shape (1, 6, 6), its statistics moved away from their start."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), activation(), nn.Flatten(), nn.Linear(108, classes)
        )
        net(torch.randn(16, 1, 6, 6))
    return net


def images(count: int = 4, seed: int = 0) -> Tensor:
    return torch.rand(count, 1, 6, 6, generator=generator(seed))


def labels(count: int = 4, classes: int = 4) -> Tensor:
    return torch.arange(count) % classes


def run_facts(**facts) -> RunFacts:
    """What an objective is told before a run of two epochs on images as above."""
    return RunFacts(
        **{
            "student": tiny_net(),
            "teacher": None,
            "num_classes": 4,
            "image_count": 4,
            "image_shape": (1, 6, 6),
            "threat": Linf(eps=0.1),
            "max_epochs": 2,
            "batches": 1,
        }
        | facts
    )


def few_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """AutoAttack's Square with 50 of its 5,000 queries, for what does not depend on how far it gets."""
    square = pytest.importorskip("pyautoattack.square").SquareAttack
    whole = square.perturb

    def perturb(self, *arguments):
        self.n_queries = 50
        return whole(self, *arguments)

    monkeypatch.setattr(square, "perturb", perturb)


def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """AutoAttack's parts by gradients with 10 of their 100 steps, likewise."""
    pytest.importorskip("pyautoattack")
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
    from pyautoattack.fab_base import FABAttack

    def shortened(whole: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def perturb(self, *arguments):
            self.n_iter = 10
            return whole(self, *arguments)

        return perturb

    for attack in (APGDAttack, APGDAttack_targeted, FABAttack):
        monkeypatch.setattr(attack, "perturb", shortened(attack.perturb))
