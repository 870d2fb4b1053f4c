#!/usr/bin/env python3
"""Diagnose every student of a study, and ask which numbers go with robust accuracy: inside.py STUDY_FOLDER RESULTS_FOLDER.

Spearman's rank correlation over the students, with an interval by drawing methods anew: seeds of one are not independent.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from ard.__main__ import main
from ard.artifacts.diagnosis import diagnosis_of, read_diagnosis
from ard.artifacts.paths import RunFolder, records_below
from ard.artifacts.record_file import read_record

LOOKED_AT = [
    *("sensitivity", "teacher", "weights", "sharpness", "basin_radius", "prunability", "nearest_category"),
    *("class_alignment", "gradient_gap", "universal_perturbation", "gradient_norm", "hessian_eigenvalues"),
]
NEAR_THE_BEST = 0.75  # of its robust accuracy: what is called robust here
DRAWS = 2000


def students(study: Path) -> list[Path]:
    """The folders of the students that were selected, without the teachers."""
    return [
        record.parent
        for record in records_below(study)
        if record.name == "evaluation.json" and "teachers" not in record.parts
    ]


def measured(folders: list[Path]) -> dict[str, np.ndarray]:
    """Each number of the diagnoses, one value a student, NaN where a diagnostic said nothing of it."""
    found: dict[str, np.ndarray] = defaultdict(lambda: np.full(len(folders), np.nan))
    for place, folder in enumerate(folders):
        for result in read_diagnosis(diagnosis_of(RunFolder(folder).records[0])).results:
            for key, value in result.values.items():
                found[f"{result.name}: {key}"][place] = value
    return dict(found)


def correlation(values: np.ndarray, robust: np.ndarray, methods: np.ndarray, seed: int = 0) -> dict[str, float] | None:
    """ρ and the 2.5 and 97.5 % quantiles over draws of whole methods; None where a value is missing, or all are equal."""
    if np.isnan(values).any() or not np.ptp(values):
        return None
    rng, names = np.random.default_rng(seed), np.unique(methods)
    places = {name: np.flatnonzero(methods == name) for name in names}
    draws = (np.concatenate([places[name] for name in rng.choice(names, len(names))]) for _ in range(DRAWS))
    drawn = [
        spearmanr(values[draw], robust[draw]).statistic for draw in draws if np.ptp(values[draw]) and np.ptp(robust[draw])
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"rho": round(float(spearmanr(values, robust).statistic), 3), "low": round(low, 3), "high": round(high, 3)}


def ranking(folders: list[Path]) -> dict[str, object]:
    """For all students, and for those nearly as robust as the best."""
    records = [read_record(RunFolder(folder).records[0]) for folder in folders]
    robust, methods = (
        np.array([record.robust_acc for record in records]),
        np.array([folder.parent.name for folder in folders]),
    )
    near = robust >= NEAR_THE_BEST * robust.max()
    rows = {
        name: {
            "all": correlation(values, robust, methods),
            "robust": correlation(values[near], robust[near], methods[near]),
        }
        for name, values in measured(folders).items()
    }
    return {
        "students": len(folders),
        "methods": len(set(methods)),
        "robust students": int(near.sum()),
        "robust methods": len(set(methods[near])),
        "least robust of them": float(robust[near].min()),
        "rows": rows,
    }


def diagnose(study: Path, folders: list[Path]) -> None:
    """Write diagnosis.json beside every record that has none."""
    missing = [folder for folder in folders if not diagnosis_of(RunFolder(folder).records[0]).is_file()]
    teacher = next(study.glob("teachers/*/student.safetensors"))
    if missing:
        main(["diagnose", *map(str, missing), "--teacher", str(teacher), "--only", ",".join(LOOKED_AT)])


if __name__ == "__main__":
    study, results = map(Path, sys.argv[1:])
    folders = students(study)
    diagnose(study, folders)
    (results / "ranking.json").write_text(json.dumps(ranking(folders), indent=1) + "\n")
    for folder in folders:
        source = diagnosis_of(RunFolder(folder).records[0])
        (results / folder.relative_to(study) / source.name).write_bytes(source.read_bytes())
