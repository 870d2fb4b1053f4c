"""The file of a diagnosis: what `ard diagnose` measured inside one network, typed as records are."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ard.artifacts.facts import NetworkSpec, Threat
from ard.artifacts.record_parts import DatasetSpec, WeightsFile
from ard.artifacts.typed_json import OMITTED, Count, Fraction, Size, from_tree, own_digest, parsed, reason_of, written
from ard.core.errors import UserError
from ard.core.files import small_text, write_whole

DIAGNOSIS_SCHEMA: Literal[1] = 1


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A picture of lines: each has its name and a value for every one of `x`."""

    x_label: str
    y_label: str
    x: tuple[float, ...]
    lines: dict[str, tuple[float, ...]]


@dataclass(frozen=True, kw_only=True)
class Plane:
    """A picture of a plane: `values[i][j]` belongs to `y[i]` and `x[j]`."""

    x_label: str
    y_label: str
    value_label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    values: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True)
class DiagnosticResult:
    """What one diagnostic found, in `n` images (0: it looks at weights alone); what it can tell and what it cannot.

    `values` has a number a name, `layers` a mapping of numbers a layer; pictures are kept as the numbers they show.
    """

    name: str
    group: str
    tells: str
    cannot: str
    source: str
    n: Count
    settings: dict[str, float | str]
    values: dict[str, float]
    layers: dict[str, dict[str, float]] | None = field(default=None, metadata=OMITTED)
    curves: dict[str, Curve] | None = field(default=None, metadata=OMITTED)
    planes: dict[str, Plane] | None = field(default=None, metadata=OMITTED)
    seconds: Size


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A diagnostic that was not for this network or these images, and why."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Everything that was looked at in one network, beside its accuracies on the same images. No number here is a score.

    `robust_acc` is the accuracy on the attacked images that the diagnostics share, made by `attack`: an upper bound.
    `digest` is the SHA-256 of the diagnosis without it; it is empty in memory.
    """

    schema: Literal[1] = DIAGNOSIS_SCHEMA
    weights: WeightsFile
    model: NetworkSpec
    teacher: WeightsFile | None
    dataset: DatasetSpec
    split: str
    n: Count
    threat: Threat
    seed: int
    attack: str
    clean_acc: Fraction
    robust_acc: Fraction
    results: tuple[DiagnosticResult, ...]
    skipped: tuple[Skipped, ...]
    versions: dict[str, str]
    device: str
    seconds: Size
    digest: str = ""


def diagnosis_of(record: Path) -> Path:
    """Where a diagnosis belongs: beside the record of the same weights.

    evaluation.json -> diagnosis.json, other.evaluation.json -> other.diagnosis.json.
    """
    return record.with_name(record.name.replace("evaluation.json", "diagnosis.json"))


def pictures_of(diagnosis: Path) -> Path:
    """Where the pictures of a diagnosis belong: safetensors, "diagnostic/name" -> (C, H, W) of uint8."""
    return diagnosis.with_suffix(".pictures.safetensors")


def read_diagnosis(path: Path) -> Diagnosis:
    """The diagnosis in a file; raises UserError for anything that is no whole one."""
    try:
        tree: Any = parsed(small_text(path))
        diagnosis: Diagnosis = from_tree(Diagnosis, tree)
        if diagnosis.digest != own_digest(diagnosis):
            raise ValueError("digest: that of another content, so it was changed after it was written")
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise UserError(
            f"{path} is damaged ({reason_of(error)}); expected what `ard diagnose` writes: diagnose the weights again"
        ) from error
    return diagnosis


def write_diagnosis(path: Path, diagnosis: Diagnosis) -> None:
    """Write a diagnosis whole or not at all."""
    write_whole(path, written(replace(diagnosis, digest=own_digest(diagnosis))))
