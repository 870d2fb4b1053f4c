"""The tables of documents that are of a study's records: its comparison, the steps it is about, when a teacher helps."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ard.artifacts.paths import RECORD, TRIALS, StudyFolder, records_below
from ard.core.text import in_points, markdown_table
from ard.report.comparison import Comparison, of_last_epochs
from ard.report.differences import DifferenceTable, difference_of
from ard.report.grouping import group, stored_record
from ard.report.rows import Row, StoredRecord

ROOT = Path(__file__).resolve().parents[1]
STUDIES = ROOT / "configs" / "studies"
RESULTS = ROOT / "docs" / "results"
LABELLER_OR_ANSWERS = {
    "baseline": "pgd_at_teacher_labels",
    "ladders": [["pgd_at_teacher_labels", "rslad"], ["trades_teacher_labels", "rslad"]],
}
# Of comparisons that no study made, what `ard compare` is told.
OPTIONS: dict[str, dict[str, Any]] = {
    "digits-pruned": {"baseline": "ard-then-ard"},
    "cifar-unlabelled-autoattack": {"baseline": "pgd_at_teacher_labels-robust"},
    "few-labels-autoattack": {"baseline": "pgd_at_teacher_labels"},
    "few-labels-again": {"last": True} | LABELLER_OR_ANSWERS,
    "few-labels-whole": LABELLER_OR_ANSWERS,
    "wrong-labels-autoattack": {"baseline": "pgd_at_ema"},
    "inherited-autoattack": {"baseline": "natural"},
    "inherited-ladder-autoattack": {"baseline": "kd-robust"},
}
# Steps of a study that were named when its runs were there, about predictions made before.
NAMED_LATER = {
    "ard-temperature-5 → ard_one_hot": "teacher-or-tricks",
    "ard_one_hot → ard_class_mean": "teacher-or-tricks",
}
# Which labels students train on, and who they learn from: the folder of records and its methods, in the order of COLUMNS.
ALONE, TRADES, FIRST, HARD, TRADES_HARD, RSLAD, ARD = COLUMNS = (
    "PGD-AT",
    "TRADES",
    "PGD-AT on a first student's labels",
    "PGD-AT on the teacher's labels",
    "TRADES on them",
    "RSLAD",
    "ARD, t = 5",
)
REGIMES: dict[str, dict[str, str]] = {
    "all right": {
        ALONE: "teacher-or-tricks/pgd_at-label_smoothing-0",
        TRADES: "teacher-or-tricks/trades",
        HARD: "teacher-or-tricks/pgd_at_teacher_labels",
        RSLAD: "teacher-or-tricks/rslad",
        ARD: "teacher-or-tricks/ard-temperature-5",
    },
    "of 100 images, the rest unlabelled": {
        ALONE: "unlabelled-images/pgd_at_ema",
        TRADES: "unlabelled-images/trades",
        FIRST: "unlabelled-images/pgd_at_teacher_labels-robust_labeller",
        HARD: "unlabelled-images/pgd_at_teacher_labels-robust",
        TRADES_HARD: "unlabelled-images/trades_teacher_labels-robust",
        RSLAD: "unlabelled-images/rslad-robust",
        ARD: "unlabelled-images/ard-robust",
    },
    "40 % wrong, the teacher's right": {
        ALONE: "wrong-labels/any-40/pgd_at_ema",
        TRADES: "wrong-labels/any-40/trades",
        HARD: "wrong-labels/any-40/pgd_at_teacher_labels",
        TRADES_HARD: "wrong-labels/any-40/trades_teacher_labels",
        RSLAD: "wrong-labels/any-40/rslad",
        ARD: "wrong-labels/any-40/ard",
    },
    "40 % wrong, the teacher's too": {
        ALONE: "noisy-teacher/pgd_at_ema",
        TRADES: "noisy-teacher/trades",
        FIRST: "noisy-student/pgd_at_teacher_labels",
        HARD: "noisy-teacher/pgd_at_teacher_labels",
        TRADES_HARD: "noisy-teacher/trades_teacher_labels",
        RSLAD: "noisy-teacher/rslad",
        ARD: "noisy-teacher/ard",
    },
}

# Of students of each size under one teacher: PGD-AT, the same with smoothed labels, on the teacher's labels, and RSLAD.
AT_RATES_OF_THEIR_OWN = ("pgd_at_ema", "pgd_at", "pgd_at_teacher_labels", "rslad")
SIZES = {
    "2,578": [f"student-sizes/3k/{method}" for method in AT_RATES_OF_THEIR_OWN],
    "6,986": [
        "teacher-or-tricks/pgd_at-label_smoothing-0",
        "teacher-or-tricks/pgd_at-label_smoothing-0.4",
        "teacher-or-tricks/pgd_at_teacher_labels",
        "teacher-or-tricks/rslad",
    ],
    "23,690": [f"student-sizes/24k/{method}" for method in AT_RATES_OF_THEIR_OWN],
    "122,122": [f"student-sizes/122k/{method}" for method in AT_RATES_OF_THEIR_OWN],
}


def results(folder: Path, place: Path) -> str:
    """What `ard compare` says of the records below a folder."""
    table, picture = compared(folder)
    return f"\n{table}\n\n![clean and worst-case accuracy]({(folder / picture).relative_to(place)})\n\n"


def compared(folder: Path, **more: Any) -> tuple[str, str]:
    """What the comparison of the records below a folder says, and the name of its picture."""
    return in_words(folder, **more).rstrip("\n"), f"{comparison(folder, **more).picture}.png"


def published_tables(*, check: bool) -> list[Path]:
    """The files of tables beside records that do not say what the comparison says; written anew unless it is a `check`."""
    tables = [StudyFolder(folder).table for folder in sorted({path.parent for path in RESULTS.rglob("table.md")})]
    differ = [table for table in tables if not table.read_text().startswith(in_words(table.parent))]
    for table in () if check else differ:
        comparison(table.parent).write(table.parent.relative_to(ROOT))
    return differ


@cache
def in_words(folder: Path, **more: Any) -> str:
    """The table of a comparison, and what is said below it."""
    return comparison(folder, **more).to_markdown()


@cache
def comparison(folder: Path, **more: Any) -> Comparison:
    """Of the records below a folder, or of those of a condition with those under none."""
    of = {ROOT / study.get("results", ""): study for study in studies().values()}
    study = of.get(folder) or of.get(folder.parent) or OPTIONS.get(folder.name, {})  # of its conditions
    options = {key: study[key] for key in ("baseline", "ladders", "last") if key in study} | more
    folders = [folder] if folder in of or folder.parent not in of else of_condition(folder, study["conditions"])
    return Comparison.of(records_of(folders), folders=folders, **options)


def records_of(folders: Sequence[Path]) -> list[StoredRecord]:
    """Every record below the folders, each read once however many tables are of it."""
    return [stored(path) for path in dict.fromkeys(path for folder in folders for path in records_below(folder))]


@cache
def stored(path: Path) -> StoredRecord:
    """One of them."""
    return stored_record(path)


def of_condition(folder: Path, conditions: Collection[str]) -> list[Path]:
    """The folders that the table of one of a study's conditions is of."""
    beside = [path for path in sorted(folder.parent.iterdir()) if path.name not in {*conditions, TRIALS}]
    return [path for path in [folder, *beside] if any(path.rglob(RECORD))]


def last(folder: Path) -> str:
    """The differences between last epochs alone, and the steps of the ladder between them."""
    parts = compared(folder, last=True)[0].split("\n\n")
    tables = [part for part in parts if part.startswith(("| Method − ", "| Step "))]
    return "\n" + "\n\n".join(tables) + "\n\n"


def steps() -> str:
    """What each study is about and whether it is decided: its steps in the worst case, of the epochs that it compares."""
    lines = [
        [f"`{study}`{condition}", f"{step} †" if NAMED_LATER.get(step) == study else step, worst]
        for study, content in studies().items()
        if "ladders" in content and is_whole(content)
        for (step, worst), condition in steps_of(study, content).items()
    ]
    return f"\n{markdown_table(['Study', 'Step', 'Worst case'], lines)}\n\n"


def is_whole(content: dict[str, Any]) -> bool:
    """Whether all of a study has run, so that it has its table; records without one are there for who goes on with it."""
    return (ROOT / content["results"] / "table.md").is_file() or any((ROOT / content["results"]).glob("*/table.md"))


def steps_of(study: str, content: dict[str, Any]) -> dict[tuple[str, str], str]:
    """Each step of a study with its difference, and the words for its condition; of the same runs under all, once."""
    conditions, found = list(content.get("conditions", [""])), defaultdict[tuple[str, str], list[str]](list)
    for condition in conditions:
        for step, worst, *_ in DifferenceTable.of_ladders(rows_of(study, condition), content["ladders"]).lines:
            found[step.replace(" (last)", ""), worst].append(condition)
    return {key: _under(under, conditions) for key, under in found.items()}


def _under(under: Sequence[str], conditions: Sequence[str]) -> str:
    """The conditions under which a step comes to one and the same, in words."""
    named = ", ".join(f"`{condition}`" for condition in under if condition)
    return ", any condition" if len(under) == len(conditions) > 1 else f" {named}" if named else ""


@cache
def rows_of(study: str, condition: str = "") -> list[Row]:
    """What a study, or one of its conditions, compares: selected epochs or last ones."""
    rows = all_rows_of(study, condition)
    return of_last_epochs(rows) if studies()[study].get("last") else [row for row in rows if not row.is_last]


@cache
def all_rows_of(study: str, condition: str = "") -> list[Row]:
    """Every row of its table."""
    content = studies()[study]
    folder = ROOT / content["results"]
    return group(records_of(of_condition(folder / condition, content["conditions"]) if condition else [folder]))


@cache
def studies() -> dict[str, dict[str, Any]]:
    """The study files by name, those of the page about evidence first and in its order."""
    text = (ROOT / "docs" / "evidence.md").read_text()
    files = sorted(STUDIES.glob("*.yaml"), key=lambda path: (len(text.partition(f"`ard study {path.stem}`")[0]), path))
    return {path.stem: yaml.safe_load(path.read_text()) for path in files}


def when() -> str:
    """The worst case of last epochs, by the labels there are and by whom a student learns from."""
    header = ["Labels of the training images", *COLUMNS, f"RSLAD − {HARD}"]
    return f"\n{markdown_table(header, [[name, *when_line(regime)] for name, regime in REGIMES.items()])}\n\n"


def when_line(regime: dict[str, str]) -> list[str]:
    """A cell for each column, and the difference of RSLAD to a labeller."""
    found = {column: row_of(path) for column, path in regime.items()}
    means = [f"{100 * found[column].mean('worst'):.1f}" if column in found else "–" for column in COLUMNS]
    return [*means, alone(found[RSLAD], found[HARD]) if HARD in found else "–"]


def sizes() -> str:
    """What RSLAD is above each control at each size of student, beside how far its teacher, as selected, is above PGD-AT."""
    header = ["Student", "PGD-AT", "teacher − PGD-AT", *(f"RSLAD − {name}" for name in (ALONE, "smoothed PGD-AT", HARD))]
    return f"\n{markdown_table(header, [[parameters, *size_line(paths)] for parameters, paths in SIZES.items()])}\n\n"


def size_line(paths: Sequence[str]) -> list[str]:
    """A cell for each column but the first."""
    *controls, rslad = map(row_of, paths)
    differences = [alone(rslad, control) for control in controls]
    return [f"{100 * controls[0].mean('worst'):.1f}", in_points(lead_of(paths)), *differences]


def lead_of(paths: Sequence[str]) -> float:
    """How far the teacher, as selected, is above the first row of a size, PGD-AT."""
    teacher = next(row for row in all_rows_of(*paths[0].split("/")[:-1]) if row.is_teacher and not row.is_last)
    return teacher.mean("worst") - row_of(paths[0]).mean("worst")


def row_of(path: str) -> Row:
    """A method of a study, such as noisy-teacher/rslad, or of one of its conditions; of last epochs."""
    *study, method = path.split("/")
    return next(row for row in of_last_epochs(all_rows_of(*study)) if row.method == method)


def alone(a: Row, b: Row) -> str:
    """The difference of a to b in points, with its interval; without a word on whether it is 0, as nothing is corrected."""
    difference = difference_of(a, b, "worst")
    mean, low, high = map(in_points, (difference.mean, difference.low, difference.high))
    return f"{mean} [{low}, {high}]"
