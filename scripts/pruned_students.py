#!/usr/bin/env python3
"""Pruned students on handwritten digits, before and after robust fine-tuning: docs/results/digits-pruned.

`scripts/pruned_students.py FOLDER [SUITE]` trains, prunes, fine-tunes and evaluates below FOLDER whatever is not there yet,
in one process, and copies the records; `ard compare docs/results/digits-pruned` then makes the table. The teacher,
FOLDER/teachers/robust, is that of the digits studies; it is trained where it is not there.
"""

import shutil
import sys
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ard.__main__ import main  # noqa: E402
from ard.artifacts.paths import RECORD, RunFolder  # noqa: E402
from ard.artifacts.run_name import RunName, write_run_name  # noqa: E402
from ard.artifacts.weights import card_of  # noqa: E402

RESULTS = ROOT / "docs" / "results" / "digits-pruned"
SEEDS = (0, 1, 2)
EPOCHS = 10  # of fine-tuning
# 3,200 weights of convolutions and linear layers, where 3,184 of the student's stay at 0.5.
SMALLER = ["--model.student.stages=[[1,16,1,1],[2,32,1,2],[1,48,1,2]]", "--model.student.head=32"]
WAYS = ("magnitude", "random", "fanout", "dpp")
PARTS = [  # of the comparison, the first ones first: student, way, keep
    [("ard", how, 0.5) for how in WAYS],
    [("pgd_at", how, 0.5) for how in WAYS],
    [("ard", "fanout-teacher", 0.5), *(("ard", how, 0.25) for how in WAYS)],
]


def run(*words: object) -> None:
    """`ard WORDS`, which must succeed."""
    status = main([str(word) for word in words])
    if status not in (0, 3, 4):
        raise SystemExit(f"ard {' '.join(map(str, words))} ended with {status}")


def trained(out: Path, method: str, seed: int, *options: str, name: str | None = None) -> Path:
    """A run of digits, called like its method or by another name, where it is not there yet; its weights."""
    weights = RunFolder(out).weights()
    if not weights.is_file():
        quiet = ("--trainer.enable_progress_bar=false",)
        run("fit", "digits", method, *options, *quiet, f"--out={out}", f"--seed_everything={seed}", "--resume=auto")
        name_run(weights, name or method)
    return weights


def name_run(weights: Path, name: str) -> None:
    """Call a run as a study would, so that tables tell two of one method apart."""
    training = card_of(weights).training
    assert training is not None
    role: Literal["student", "teacher"] = "teacher" if weights.parent.parent.name == "teachers" else "student"
    digest = training.config_digest
    write_run_name(
        RunFolder(weights.parent), RunName(study=RESULTS.name, method=name, role=role, swept={}, config_digest=digest)
    )


def pruned(weights: Path, out: Path, how: str, keep: float, teacher: Path) -> Path:
    """The file that `ard prune` writes, where it is not there yet."""
    written = RunFolder(out).weights()
    way, _, compared = how.partition("-")
    options = [f"--how={way}", f"--keep={keep}", f"--out={out}", *([f"--teacher={teacher}"] if compared else [])]
    if not written.is_file():
        run("prune", weights, *options)
    return written


def evaluated(weights: Path, folder: Path, suite: str) -> None:
    """Evaluate what is not in the results yet, and copy the record."""
    target = RESULTS / weights.parent.relative_to(folder)
    if (target / RECORD).is_file():
        return
    if not (weights.parent / RECORD).is_file():
        run("evaluate", weights, f"--suite={suite}")
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(weights.parent / RECORD, target)  # it holds the config of its training


def one_part(folder: Path, part: list[tuple[str, str, float]], seed: int, suite: str) -> None:
    """The students of a part and one seed, what is pruned of them, and all of these after fine-tuning."""
    teacher = trained(folder / "teachers" / "robust", "teachers/digits_resnet", 0, name="robust")
    taught = f"--teacher={teacher}"
    starts = {}
    for method in dict.fromkeys(method for method, *_ in part):
        options = [taught] if method == "ard" else []
        starts[method] = trained(folder / method / f"seed{seed}", method, seed, *options)
    for method, how, keep in part:
        name = f"{method}-{how}-{keep:g}"
        starts[name] = pruned(starts[method], folder / name / f"seed{seed}", how, keep, teacher)
    smaller = trained(folder / "ard-smaller" / f"seed{seed}", "ard", seed, taught, *SMALLER, name="ard-smaller")
    for weights in (teacher, *starts.values(), smaller):
        evaluated(weights, folder, suite)
    for name, start in starts.items():
        options = [taught, f"--epochs={EPOCHS}", f"--init={start}"]
        called = f"{name}-then-ard" if "-" not in name else "ard"  # a table puts how a start was pruned in front itself
        tuned = trained(folder / f"{name}-then-ard" / f"seed{seed}", "ard", seed, *options, name=called)
        evaluated(tuned, folder, suite)


if __name__ == "__main__":
    place, level = Path(sys.argv[1]), (sys.argv[2:] or ["quick"])[0]
    for some in PARTS:
        for number in SEEDS:
            one_part(place, some, number, level)
