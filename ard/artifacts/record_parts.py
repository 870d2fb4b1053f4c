"""What a record is made of: the file of weights, the data, attacks, checks, times, and the run they are of."""

from dataclasses import dataclass, field
from typing import Any, Literal

from ard.artifacts.check_names import with_name
from ard.artifacts.facts import Threat
from ard.artifacts.typed_json import OMITTED, SINCE_2, Count, Fraction, Size
from ard.core.text import duration, one_line

Verdict = Literal["pass", "warn", "fail", "skipped"]
Overall = Literal["sound", "upper bound", "warnings", "unreliable"]
WORTH_SAYING = 30  # seconds from which on an estimate is


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """The evaluated file; `path` is the one it had then. Without a hash: a network in memory."""

    path: str
    sha256: str | None


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """The data as a configuration names them, and a digest of the evaluated images and labels."""

    name: str
    class_path: str
    init_args: dict[str, Any] | None = field(default=None, metadata=OMITTED)
    digest: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", one_line(self.name))  # it stands in titles, tables and on the terminal


@dataclass(frozen=True, kw_only=True)
class AttackResult:
    """An attack or probe and the accuracy after it, cumulative where it was shown only what those in `after` left right.

    `attacked` counts the images it was shown; `seconds` is work. `group` and a probe's own `threat` where there is one.
    """

    name: str
    group: str | None = field(default=None, metadata=OMITTED)
    threat: Threat | None = field(default=None, metadata=OMITTED)
    settings: dict[str, Any]
    accuracy: Fraction
    attacked: Count | None = field(default=None, metadata=SINCE_2)
    after: tuple[str, ...] = field(default=(), metadata=SINCE_2)
    seconds: Size | None = field(default=None, metadata=SINCE_2)


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """Accuracy under PGD-20 at one radius."""

    eps: Size
    accuracy: Fraction
    stderr: Size


@dataclass(frozen=True, kw_only=True)
class ClassResult:
    """The accuracies of one class."""

    name: str = field(metadata={"key": "class"})
    n: Count
    clean_acc: Fraction
    robust_acc: Fraction


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """The result of a soundness check: value, threshold, verdict, and what the value is, in words."""

    id: str
    value: bool | int | float | None
    threshold: bool | int | float | None
    verdict: Verdict
    reason: str

    @property
    def name(self) -> str:
        """The id with the name of the check."""
        return with_name(self.id)


@dataclass(frozen=True, kw_only=True)
class GivenFiles:
    """SHA-256 of the other networks that were given to the evaluation."""

    teacher: str | None = field(default=None, metadata=OMITTED)
    undefended: str | None = field(default=None, metadata=OMITTED)
    transfer: dict[str, str] | None = field(default=None, metadata=OMITTED)


@dataclass(frozen=True, kw_only=True)
class TimeTaken:
    """Seconds by the clock and of CPU, children included, in the process that wrote the record; and what was estimated.

    Unlike `seconds`, which is the attacks' work wherever it was done, they hold the checks, too. The estimate is an upper
    bound: without one where nothing was announced.
    """

    wall_seconds: Size
    cpu_seconds: Size
    estimated_seconds: Size | None = field(default=None, metadata=OMITTED)

    @property
    def surprise(self) -> str:
        """One line where the estimate was off by more than twice; empty where it was not, or there is none."""
        expected, taken = self.estimated_seconds, self.wall_seconds
        if not expected or max(expected, taken) < WORTH_SAYING or taken / 2 <= expected <= 2 * taken:
            return ""
        return f"took {duration(taken)}, estimated were at most about {duration(expected)}"


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """Which run the weights are of: its study, its method, its role and the setting that was swept.

    `method` is the name of the recipe; without a study, that of the recipe's file. `swept` has the setting that tells this
    run from others of its method, dotted key -> value; `teachers` the SHA-256 of each, by its place in the configuration.
    """

    study: str | None
    method: str
    role: Literal["student", "teacher"]
    checkpoint: Literal["best", "last"]
    seed: int
    swept: dict[str, float]
    teachers: dict[str, str]
