"""The contract of a diagnostic: a function of what is inspected, with what it tells and what it cannot."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from ard.artifacts.diagnosis import Curve, Plane
from ard.diagnostics.inspected import Inspected

Runs = Literal["always", "with a teacher", "with an ensemble teacher", "on demand"]


class NotApplicableError(Exception):
    """Raised by a diagnostic that says nothing of this network or these images; its text is the reason."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a diagnostic returns: numbers by name, by layer, as lines or planes, and pictures (C, H, W) in [0, 1].

    `n` is the number of images it looked at, where these are not all; `settings` is what a reader needs to repeat it.
    """

    values: Mapping[str, float]
    layers: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    planes: Mapping[str, Plane] = field(default_factory=dict)
    pictures: Mapping[str, Tensor] = field(default_factory=dict)
    settings: Mapping[str, float | str] = field(default_factory=dict)
    n: int | None = None


@dataclass(frozen=True)
class Diagnostic:
    """A function Inspected -> Found, and its words: called like the function."""

    measure: Callable[[Inspected], Found]
    tells: str
    cannot: str
    source: str
    runs: Runs

    def __call__(self, of: Inspected) -> Found:
        return self.measure(of)


def diagnostic(
    *, tells: str, cannot: str, source: str, runs: Runs = "on demand"
) -> Callable[[Callable[[Inspected], Found]], Diagnostic]:
    """Make a function a diagnostic, found by the file that has its name.

    Args:
        tells: What its numbers say, in a sentence.
        cannot: What they do not say.
        source: The paper, as arXiv:2007.15378; "ours" where there is none.
        runs: When nobody asked for it by name.
    """
    return lambda measure: Diagnostic(measure, tells, cannot, source, runs)
