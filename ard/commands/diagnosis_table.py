"""Diagnoses as a table: a column a network, beside its accuracies; no number is a score."""

from collections.abc import Sequence

from ard.artifacts.diagnosis import Diagnosis
from ard.core.text import DASH, markdown_table, percent


def side_by_side(diagnoses: Sequence[tuple[str, Diagnosis]]) -> str:
    """A table for the networks of each architecture: students of different ones are not compared by these numbers."""
    architectures: dict[str, list[tuple[str, Diagnosis]]] = {}
    for file, diagnosis in diagnoses:
        architectures.setdefault(f"{diagnosis.model.class_path} {diagnosis.model.init_args}", []).append((file, diagnosis))
    return "\n\n".join(_table(group) for group in architectures.values())


def _table(group: Sequence[tuple[str, Diagnosis]]) -> str:
    diagnoses = [diagnosis for _, diagnosis in group]
    rows = [
        ["clean accuracy", *(percent(diagnosis.clean_acc) for diagnosis in diagnoses)],
        [f"accuracy after {diagnoses[0].attack}", *(percent(diagnosis.robust_acc) for diagnosis in diagnoses)],
    ]
    numbers = [
        {(result.name, key): value for result in diagnosis.results for key, value in result.values.items()}
        for diagnosis in diagnoses
    ]
    for name, key in dict.fromkeys(pair for found in numbers for pair in found):
        cells = [f"{found[name, key]:.3g}" if (name, key) in found else DASH for found in numbers]
        rows.append([f"{name}: {key}", *cells])
    skipped = sorted({f"{one.name}: {one.reason}" for diagnosis in diagnoses for one in diagnosis.skipped})
    table = markdown_table(["", *(file for file, _ in group)], rows)
    return "\n".join([table, *(f"not measured: {line}" for line in skipped)])
