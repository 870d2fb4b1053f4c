"""M9: does the model keep state where no digest of parameters and buffers sees it?"""

import hashlib
from collections.abc import Iterator
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ard.evaluation.checks.evidence import Evidence
from ard.evaluation.checks.result import CheckResult, at_most, check

DEPTH = 4
OF_TORCH = set(vars(nn.Module()))


@check("M9", first="quick")
def no_counters(e: Evidence) -> CheckResult:
    """M9 (warn): no number among the Python attributes of the model, of its functions and of their closures changed while it
    was evaluated: what counts its calls may answer otherwise after some. Stored tensors may change, as a cache does.
    """
    after = state_of(e.model)
    before = after if e.remembered is None else e.remembered
    changed = sorted(name for name, value in after.items() if before.get(name, value) != value)
    named = f": {', '.join(changed[:3])}" if changed else ""
    return at_most(len(changed), f"numbers outside parameters and buffers that changed during the evaluation{named}", warn=0)


def state_of(model: nn.Module) -> dict[str, str]:
    """Numbers, words and random states that a model holds outside its parameters and buffers, by where they are."""
    found: dict[str, str] = {}
    for path, module in model.named_modules():
        place = f"{path}." if path else ""
        for name, value in vars(module).items():
            if name not in OF_TORCH:
                found |= dict(_leaves(place + name, value, DEPTH))
        for name, value in vars(type(module)).items():
            if not name.startswith("__") and not type(module).__module__.startswith("torch."):
                found |= dict(_leaves(f"{place}{type(module).__name__}.{name}", value, 2))
    return found


def _leaves(path: str, value: Any, depth: int) -> Iterator[tuple[str, str]]:
    """What can be compared below a value; what is deeper than `depth`, a tensor or a module is left out."""
    if isinstance(value, bool | int | float | complex | str | bytes | np.generic | None):
        yield path, repr(value)
    elif isinstance(value, torch.Generator):
        yield path, hashlib.sha256(value.get_state().numpy().tobytes()).hexdigest()
    elif depth and not isinstance(value, Tensor | np.ndarray | nn.Module | type):
        for name, inner in _inside(value):
            yield from _leaves(f"{path}.{name}", inner, depth - 1)


def _inside(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, MethodType):
        value = value.__func__
    if isinstance(value, FunctionType):
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        yield from ((name, cell.cell_contents) for name, cell in cells if _filled(cell))
        used = (name for name in value.__code__.co_names if name in value.__globals__)
        yield from ((name, value.__globals__[name]) for name in used if _plain(value.__globals__[name]))
        yield from vars(value).items()
    elif isinstance(value, dict):
        yield "size", len(value)
        yield from ((str(name), inner) for name, inner in list(value.items())[:50])
    elif isinstance(value, list | tuple | set | frozenset):
        yield "size", len(value)
        yield from ((str(place), inner) for place, inner in enumerate(list(value)[:50]))
    elif hasattr(value, "__next__"):  # itertools.count and the like: their repr says where they are
        yield "next", repr(value)
    elif hasattr(value, "getstate"):  # random.Random
        yield "state", hashlib.sha256(repr(value.getstate()).encode()).hexdigest()
    elif hasattr(value, "__dict__"):
        yield from vars(value).items()


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _plain(value: Any) -> bool:
    return isinstance(value, int | float | list | dict | set)
