"""Run diagnostics: each on a network that is as before afterwards, and no number that is none."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from torch import Tensor

from ard.artifacts.diagnosis import Curve, DiagnosticResult, Skipped
from ard.core.errors import UserError
from ard.diagnostics.base import Diagnostic, Found, NotApplicableError
from ard.diagnostics.inspected import Inspected
from ard.diagnostics.names import groups
from ard.evaluation.cascade import evaluation_mode
from ard.models.combined_teachers import Ensemble


@dataclass(frozen=True)
class Diagnosed:
    """The results in their order, what was skipped and why, and the pictures (C, H, W) by diagnostic and name."""

    results: tuple[DiagnosticResult, ...]
    skipped: tuple[Skipped, ...]
    pictures: Mapping[str, Mapping[str, Tensor]]


def diagnose_images(of: Inspected, names: Sequence[str] | None = None) -> Diagnosed:
    """Run the diagnostics of these names, by default those that always run and those for the teacher there is.

    Raises UserError where a diagnostic yields a number that is not finite, and RuntimeError where one leaves a network
    changed.
    """
    chosen = list(default_names(of)) if names is None else names
    results, skipped, pictures = [], [], {}
    for name in chosen:
        try:
            result, pictures[name] = _measured(name, of)
            results.append(result)
        except NotApplicableError as reason:
            skipped.append(Skipped(name=name, reason=str(reason)))
    return Diagnosed(tuple(results), tuple(skipped), {name: found for name, found in pictures.items() if found})


def load_diagnostic(name: str) -> Diagnostic:
    """The diagnostic of a name."""
    found: Diagnostic = getattr(import_module(f"ard.diagnostics.{groups()[name]}.{name}"), name)
    return found


def default_names(of: Inspected) -> Iterator[str]:
    """What is run where nothing was asked for by name."""
    fitting = {"always"}
    if of.teacher is not None:
        fitting |= {"with a teacher"} | ({"with an ensemble teacher"} if isinstance(of.teacher, Ensemble) else set())
    yield from (name for name in groups() if load_diagnostic(name).runs in fitting)


def _measured(name: str, of: Inspected) -> tuple[DiagnosticResult, Mapping[str, Tensor]]:
    chosen, start = load_diagnostic(name), time.perf_counter()
    if chosen.runs.startswith("with") and of.teacher is None:
        raise NotApplicableError("it compares with a teacher: add --teacher FILE")
    with evaluation_mode(*of.networks) as touched:
        found = chosen(of)
        if touched():
            raise RuntimeError(f"{name} left a network, a mode or the random state changed: a fault of this diagnostic")
    result = DiagnosticResult(
        name=name,
        group=groups()[name],
        tells=chosen.tells,
        cannot=chosen.cannot,
        source=chosen.source,
        n=len(of.y) if found.n is None else found.n,
        settings=dict(found.settings),
        values=dict(found.values),
        layers={layer: dict(values) for layer, values in found.layers.items()} or None,
        curves=dict(found.curves) or None,
        planes=dict(found.planes) or None,
        seconds=round(time.perf_counter() - start, 3),
    )
    _check_finite(name, found)
    return result, found.pictures


def _check_finite(name: str, found: Found) -> None:
    for where, value in _numbers(found):
        if not math.isfinite(value):
            raise UserError(f"{name}: {where} is {value}; expected finite numbers: are the weights and the answers finite?")


def _numbers(found: Found) -> Iterator[tuple[str, float]]:
    yield from found.values.items()
    for layer, values in found.layers.items():
        yield from ((f"{key} of layer {layer}", value) for key, value in values.items())
    shown: list[tuple[str, Any]] = [*found.curves.items(), *found.planes.items()]
    for picture, content in shown:
        lines = content.lines.values() if isinstance(content, Curve) else content.values
        yield from ((picture, value) for line in lines for value in line)
