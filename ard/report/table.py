"""The main table: what every method reached, for readers (Markdown) and for programs (CSV)."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ard.core.statistics import mean_and_spread
from ard.core.text import in_points, markdown_table
from ard.report.content import overestimation, standalone, warned
from ard.report.differences import ACCURACY_FIELDS, Kind, leader
from ard.report.rows import Row

NONE = "–"
AUTOATTACK = "AA"
Leaders = dict[Kind, tuple[Row, bool] | None]


def main_table(rows: Sequence[Row], differ: Sequence[str]) -> str:
    """Accuracies in percent, mean ± standard deviation over seeds; the best student bold where significant."""
    robust, training = robust_columns(rows), differing_training(rows)
    best: Leaders = {} if differ else {kind: leader(rows, kind) for kind in ACCURACY_FIELDS}
    header = ["Method", "Teacher", "Student", "Clean", *robust, "Worst", "params", "training time", "seeds"]
    header += [*(["Training"] if training else []), *differ]
    lines = []
    for row in rows:
        cells = [row.label, row.teacher or NONE, student(row), *_accuracy_cells(row, robust, best)]
        cells += [f"{row.values('params')[0]:,}", training_time(training_seconds(row)), str(len(row.records))]
        cells += [", ".join(f"{key} {training_value(row, key)}" for key in training)] if training else []
        lines.append(cells + [row.records[0].settings[key] for key in differ])
    return markdown_table(header, lines)


def settings_line(rows: Sequence[Row], differ: Sequence[str]) -> str:
    """What all rows share: data, split, number of images, threat, suite, seeds."""
    shared = [f"{key} {value}" for key, value in shared_settings(rows, differ).items()]
    counts = {len(row.records) for row in rows if not row.is_teacher} or {len(row.records) for row in rows}
    if counts == {1}:
        seeds = "one seed: the intervals cover the choice of test images, not of the training run"
    else:
        seeds = " to ".join(str(count) for count in sorted({min(counts), max(counts)})) + " seeds"
    return ", ".join([*shared, seeds]) + "."


def overestimation_line(rows: Sequence[Row], differ: Sequence[str]) -> str:
    """By how many points each row looks better under PGD-20 than under AutoAttack; empty where no row ran both."""
    found = []
    for row in rows:
        points = row.numbers(overestimation)
        found += [f"{_name(row, differ)} {row.warning or in_points(mean_and_spread(points)[0])}"] if points else []
    return f"PGD-20 flatters (PGD-20 − {AUTOATTACK}, in points, mean over seeds): {'; '.join(found)}." if found else ""


def warnings_line(rows: Sequence[Row], differ: Sequence[str]) -> str:
    """Which checks warned in which row, in any of its seeds; the last checkpoints only where a best one is not there."""
    best = {row.method for row in rows if not row.is_last}
    found = []
    for row in (row for row in rows if not (row.is_last and row.method in best)):
        if checks := warned(record.content for record in row.records):
            found.append(f"{_name(row, differ)} {' '.join(checks)}")
    return f"Warnings of the soundness checks (docs/evaluation.md): {'; '.join(found)}." if found else ""


def shared_settings(rows: Sequence[Row], differ: Sequence[str]) -> dict[str, str]:
    """The settings in which all rows agree; the data by name, without the digest that only tells data apart."""
    settings = rows[0].records[0].settings
    shown = settings | {"dataset": settings["dataset"].rpartition(" (")[0]}
    return {key: value for key, value in shown.items() if key not in differ}


def write_csv(rows: Sequence[Row], differ: Sequence[str], path: Path) -> None:
    """The same rows with accuracies as fractions; a robust number that cannot be relied on says so here too."""
    robust, training = robust_columns(rows), differing_training(rows)
    kinds = [f"{kind}{end}" for kind in ("clean", *robust, "worst") for end in ("", " sd")]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        header = ["method", "checkpoint", "teacher", "student", *kinds, "params", "seconds", "seeds"]
        writer.writerow([*header, *training, *differ])
        for row in rows:
            cells: list[Any] = [row.method, "last" if row.is_last else "best", row.teacher, student(row)]
            cells += _numbers(row, robust)
            cells += [row.values("params")[0], training_seconds(row), len(row.records)]
            cells += [training_value(row, key) for key in training]
            writer.writerow(cells + [row.records[0].settings[key] for key in differ])


def robust_columns(rows: Sequence[Row]) -> list[str]:
    """The attacks that any record ran on its own, in the order of the records, then AutoAttack where any ran it whole."""
    names = [name for row in rows for record in row.records for name in standalone(record.content)]
    whole = any(record.content.get("autoattack_acc") is not None for row in rows for record in row.records)
    return [*dict.fromkeys(names), *([AUTOATTACK] if whole else [])]


def differing_training(rows: Sequence[Row]) -> list[str]:
    """The parts of the training block, precision and epochs in which students differ: there the method is not all."""
    blocks = [_block(training) for row in rows if not row.is_teacher for training in row.values("training") if training]
    keys = dict.fromkeys(key for block in blocks for key in block)
    return [key for key in keys if any(block.get(key) != blocks[0].get(key) for block in blocks)]


def training_value(row: Row, key: str) -> str:
    """One setting of a row's training; several where its seeds do not agree, a dash where training is not known."""
    values = [_block(training).get(key) for training in row.values("training") if training]
    words = ["none" if v is None else str(v).lower() if isinstance(v, bool) else str(v) for v in values]
    return "/".join(dict.fromkeys(words)) or NONE


def training_seconds(row: Row) -> float | None:
    """Mean over the seeds of which it is known."""
    seconds = [training["seconds"] for training in row.values("training") if training]
    return mean_and_spread(seconds)[0] if seconds else None


def student(row: Row) -> str:
    """The class of the network."""
    return str(row.values("model")[0]["class_path"]).rpartition(".")[2]


def mean_percent(fractions: Sequence[float]) -> str:
    """81.2 ± 0.4 of accuracies over seeds; without ± for one seed."""
    if not fractions:
        return NONE
    mean, spread = mean_and_spread(fractions)
    return f"{100 * mean:.1f}" if spread is None else f"{100 * mean:.1f} ± {100 * spread:.1f}"


def training_time(seconds: float | None) -> str:
    """72 -> 1 min 12 s."""
    if seconds is None:
        return NONE
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _name(row: Row, differ: Sequence[str]) -> str:
    return ", ".join([row.label, *(row.records[0].settings[key] for key in differ)])


def _column(row: Row, name: str) -> list[float]:
    return row.autoattack if name == AUTOATTACK else row.accuracies(name)


def _accuracy_cells(row: Row, robust: Sequence[str], best: Leaders) -> list[str]:
    clean = _mark(mean_percent(row.values("clean_acc")), row, best.get("clean"))
    if row.warning:
        return [clean, *[row.warning] * (len(robust) + 1)]
    worst = _mark(mean_percent(row.values("robust_acc")), row, best.get("worst"))
    return [clean, *(mean_percent(_column(row, name)) for name in robust), worst]


def _mark(text: str, row: Row, best: tuple[Row, bool] | None) -> str:
    if best is None or best[0] is not row:
        return text
    return f"**{text}**" if best[1] else f"{text} n.s."


def _numbers(row: Row, robust: Sequence[str]) -> list[Any]:
    columns = [*(_column(row, name) for name in robust), row.values("robust_acc")]
    cells: list[Any] = [*mean_and_spread(row.values("clean_acc"))]
    for fractions in columns:
        cells += (row.warning, None) if row.warning else mean_and_spread(fractions) if fractions else (None, None)
    return cells


def _block(training: dict[str, Any]) -> dict[str, Any]:
    return {**training["block"], "precision": training["precision"], "epochs": training["epochs"]}
