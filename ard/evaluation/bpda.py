"""BPDA with the identity (Athalye et al., ICML 2018), for the modules of a network whose gradients are wrong."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from ard.evaluation.adversaries import GradientAdversary
from ard.evaluation.cascade import evaluation_mode
from ard.evaluation.gradient_check import COARSE, GROSS_ERROR, differences
from ard.evaluation.recorded_calls import Copies, called

IMAGES = 16


@dataclass(frozen=True, kw_only=True)
class BPDA(GradientAdversary):
    """A gradient attack for which some modules of the network hand their gradient through unchanged."""

    modules: tuple[str, ...]

    @classmethod
    def of(cls, attack: GradientAdversary, modules: tuple[str, ...]) -> "BPDA":
        """The same attack."""
        return cls(**{field.name: getattr(attack, field.name) for field in fields(attack)}, modules=modules)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        with _identity_gradients(model, self.modules):
            return super().__call__(model, x, y, generator)

    @property
    def settings(self) -> dict[str, Any]:
        return super().settings | {"identity for": ", ".join(self.modules)}


def modules_with_wrong_gradient(model: nn.Module, x: Tensor) -> tuple[str, ...]:
    """The innermost modules that keep the shape of their input and whose gradient is not that of their output."""
    inputs: dict[str, Tensor] = {}

    def noting(name: str) -> Any:
        def note(_: nn.Module, given: tuple[Any, ...], output: Any) -> None:
            if len(given) == 1 and isinstance(output, Tensor) and getattr(given[0], "shape", None) == output.shape:
                inputs[name] = given[0].detach().clone()

        return note

    with ExitStack() as hooks, evaluation_mode(model), torch.no_grad():
        for name, module in model.named_modules():
            if name:
                hooks.enter_context(module.register_forward_hook(noting(name)))
        model(x[:IMAGES])
    wrong = [name for name, given in inputs.items() if _has_wrong_gradient(model.get_submodule(name), given)]
    return tuple(name for name in wrong if not any(other.startswith(f"{name}.") for other in wrong))


def _has_wrong_gradient(module: nn.Module, given: Tensor) -> bool:
    piece = nn.Sequential(module, nn.Flatten())
    generator = torch.Generator().manual_seed(0)
    moved = given + 0.01 * given.std() * torch.randn(given.shape, generator=generator).to(given)
    try:
        with evaluation_mode(piece):
            seen = called(piece, moved, lambda out: (out * torch.randn(out.shape, generator=generator).to(out)).sum(dim=1))
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # no gradient at all
        return True
    return float(differences(Copies(piece), seen, generator).median()) > GROSS_ERROR / COARSE


@contextmanager
def _identity_gradients(model: nn.Module, modules: tuple[str, ...]) -> Iterator[None]:
    def through(_: nn.Module, given: tuple[Any, ...], output: Tensor) -> Tensor:
        return given[0] + (output - given[0]).detach()

    with ExitStack() as hooks:
        for name in modules:
            hooks.enter_context(model.get_submodule(name).register_forward_hook(through))
        yield
