"""Attacks of other people's libraries: AutoAttack of pyautoattack, and any attack of torchattacks by name."""

import re
from dataclasses import dataclass, field
from importlib import import_module
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from ard.attacks import Ball
from ard.core.errors import UserError
from ard.core.suggestions import did_you_mean
from ard.evaluation.adversaries import Adversary

PINNED = {"pyautoattack": "pyautoattack==0.2.0", "torchattacks": "torchattacks==3.5.1"}  # as pyproject.toml has them
AUTOATTACK_PARTS = {"APGD-CE": "apgd-ce", "APGD-T": "apgd-t", "FAB-T": "fab-t", "Square": "square"}
PASSES = {"APGD-CE": 100, "APGD-T": 900, "FAB-T": 1000, "Square": 1700}
APGD_STEPS = {"n_queries": 1 / 3, "steps": 1, "num_iter_set": 1, "max_iterations": 9}  # of torchattacks, in passes
RGB_ONLY = ("TIFGSM", "PIFGSM", "PIFGSMPP")
TARGETED = ("APGD-T", "FAB-T")
FEWEST_FOR_TARGETS = 4  # the targeted loss sorts four logits


@dataclass(frozen=True, kw_only=True)
class AutoAttackPart(Adversary):
    """One of the four attacks of AutoAttack standard (Croce & Hein, ICML 2020) at its official settings.

    APGD on cross entropy, targeted APGD and targeted FAB (100 iterations, one restart, 9 targets or all others where there
    are fewer), Square (5,000 queries). Their global draws are seeded from the generator and undone by the caller.
    """

    ball: Ball
    targets: int = 9
    iterations: int | None = None  # the official 100, and with them the official queries
    queries: int | None = None
    group: str | None = "AutoAttack"

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        runner = _require("pyautoattack").AutoAttack(
            lambda pixels: model(pixels).float(),
            norm=self.ball.norm,
            eps=self.ball.eps,
            seed=int(torch.randint(2**31, (), generator=generator, device=generator.device)),
            device=x.device,
        )
        runner.apgd_targeted.n_target_classes = runner.fab.n_target_classes = self.targets
        runner.fab.targeted = True
        if self.iterations is not None:
            runner.apgd.n_iter = runner.apgd_targeted.n_iter = runner.fab.n_iter = self.iterations
            runner.square.n_queries = self.queries or self.iterations
        attack = {"APGD-CE": runner.apgd, "APGD-T": runner.apgd_targeted, "FAB-T": runner.fab, "Square": runner.square}
        for part in attack.values():
            part.seed = runner.seed
        with torch.no_grad():
            return attack[self.name].perturb(x.contiguous(), y)

    @property
    def settings(self) -> dict[str, Any]:
        aimed = {"targets": self.targets} if self.name in TARGETED else {}
        short = {} if self.iterations is None else {"steps": self.iterations, "queries": self.queries}
        return {"attack": AUTOATTACK_PARTS[self.name], "library": "pyautoattack", "version": "standard", **aimed, **short}

    @property
    def passes(self) -> float:
        return PASSES[self.name] if self.iterations is None else float(self.iterations * self.targets)


@dataclass(frozen=True, kw_only=True)
class TorchAttack(Adversary):
    """An attack of torchattacks by its class name, with the ball's eps and the library's own defaults.

    An image that ends outside the ball, as those of minimum-norm attacks may, counts as correctly classified.
    """

    ball: Ball
    kind: Any
    options: dict[str, Any] = field(default_factory=dict)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        if self.kind.__name__ in RGB_ONLY and x.shape[1] != 3:
            raise UserError(f"{self.name} is written for three channels, these images have {x.shape[1]}")
        seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
        torch.manual_seed(seed)
        seeded = {"seed": seed} if "seed" in signature(self.kind).parameters else {}
        attack = self.kind(model, **self.options, **seeded)
        attack.set_device(x.device)
        with torch.enable_grad():
            x_adv = attack(x, y).detach().float().clamp(0, 1)
        inside = self.ball.distance(x_adv - x) <= self.ball.eps * (1 + 1e-5) + 1e-6
        return torch.where(inside.view(-1, 1, 1, 1), x_adv, x)

    @property
    def settings(self) -> dict[str, Any]:
        return {"attack": self.kind.__name__, "library": "torchattacks", **self.options}

    @property
    def passes(self) -> float:
        parameters = signature(self.kind).parameters
        return next((cost * parameters[key].default for key, cost in APGD_STEPS.items() if key in parameters), 1.0)


def autoattack(ball: Ball, num_classes: int) -> list[AutoAttackPart]:
    """AutoAttack standard as a cascade of its own; with 2 or 3 classes without its targeted parts, which need 4."""
    parts = [name for name in AUTOATTACK_PARTS if num_classes >= FEWEST_FOR_TARGETS or name not in TARGETED]
    targets = min(9, num_classes - 1)
    return [AutoAttackPart(name=name, ball=ball, after=tuple(parts[:i]), targets=targets) for i, name in enumerate(parts)]


def library_attack(name: str) -> Any:
    """The class torchattacks.<name>; raises UserError for names that the library lacks, and for its AutoAttack."""
    library = _require("torchattacks")
    if name == "AutoAttack":
        raise UserError(
            "torchattacks.AutoAttack runs 10 steps where AutoAttack runs 100, and reports models as more robust than they "
            "are: use --suite standard, which runs AutoAttack itself"
        )
    kind = getattr(library, name, None) if name in library.__all__ else None
    if kind is None:
        raise UserError(f"torchattacks has no attack {name!r}{did_you_mean(name, library.__all__)}")
    return kind


def torch_attack(name: str, ball: Ball, num_classes: int) -> TorchAttack:
    """torchattacks.<name> with the ball's norm and eps; its step size keeps the library's ratio to eps.

    Raises UserError as `library_attack` does, and for attacks of another norm.
    """
    kind = library_attack(name)
    measured = re.search(r"Distance Measure\s*:\s*(.*)", kind.__doc__ or "")
    if measured is None or ball.norm not in re.findall(r"\w+", measured[1]):
        norms = measured[1] if measured else "no norm"
        raise UserError(f"torchattacks.{name} is made for {norms}; expected an attack in {ball.norm}")
    if name == "APGDT" and num_classes < FEWEST_FOR_TARGETS:
        raise UserError(f"torchattacks.APGDT needs {FEWEST_FOR_TARGETS} classes; the data have {num_classes}")
    return TorchAttack(name=f"torchattacks.{name}", ball=ball, kind=kind, options=_options(kind, ball, num_classes))


def _options(kind: Any, ball: Ball, num_classes: int) -> dict[str, Any]:
    parameters = signature(kind).parameters
    radius = next((name for name in ("eps", "max_epsilon") if name in parameters), None)
    options: dict[str, Any] = {radius: ball.eps} if radius else {}
    if radius and "alpha" in parameters:
        options["alpha"] = ball.eps * parameters["alpha"].default / parameters[radius].default
    options |= {"norm": ball.norm} if "norm" in parameters else {}
    return options | ({"n_classes": num_classes} if "n_classes" in parameters else {})


def _require(library: str) -> Any:
    try:
        return import_module(library)
    except ImportError as error:
        raise UserError(f"this needs {library}, which is not installed: pip install --no-deps {PINNED[library]}") from error
