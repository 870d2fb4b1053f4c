"""The main table: what every method reached, for readers (Markdown) and for programs (CSV).

A column is an attribute of a row or a record, and a line in `columns`.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from ard.artifacts.check_names import by_number, with_name
from ard.artifacts.facts import OF_DATA
from ard.artifacts.record import Record
from ard.core.statistics import known_mean, mean_and_spread
from ard.core.text import DASH, duration, in_points, markdown_table
from ard.report.differences import leader
from ard.report.rows import Kind, Row, by_one_checkpoint, from_to

AUTOATTACK = "AA"
# What a setting of training is that nobody set, if not none.
UNSET = {"optimizer": "SGD", "labels": "all", "processes": "1 or not said"}
NOT_SAID = "not said"
Leaders = dict[Kind, tuple[Row, str] | None]


def plain(value: Any) -> str:
    """A dash for what is not known."""
    return DASH if value is None else str(value)


@dataclass(frozen=True)
class Column:
    """A column: its name in Markdown, its value in a row, the value as people read it, and its name in the CSV file.

    An empty name leaves it out of that table.
    """

    name: str
    value: Callable[[Row], Any]
    format: Callable[[Any], str] = plain
    csv: str = ""

    def cell(self, row: Row) -> str:
        """In Markdown."""
        return self.format(self.value(row))

    @property
    def csv_names(self) -> list[str]:
        return [self.csv] if self.csv else []

    def csv_cells(self, row: Row) -> list[Any]:
        """In the CSV file: numbers as they are."""
        return [self.value(row)] if self.csv else []


@dataclass(frozen=True)
class AccuracyColumn(Column):
    """Mean and standard deviation over seeds of fractions; a robust one is replaced by the row's warning.

    `best` is the row that leads, and why it does not do so significantly, if so.
    """

    robust: bool = True
    best: tuple[Row, str] | None = None

    def cell(self, row: Row) -> str:
        """In percent; the leader bold where that is significant."""
        if self.robust and row.warning:
            return row.warning
        text = mean_percent(*self._mean_and_spread(row))
        if self.best is None or self.best[0] is not row:
            return text
        return f"{text} {self.best[1]}" if self.best[1] else f"**{text}**"

    @property
    def csv_names(self) -> list[str]:
        return [self.csv, f"{self.csv} sd"]

    def csv_cells(self, row: Row) -> list[Any]:
        """As fractions."""
        if self.robust and row.warning:
            return [row.warning, None]
        return self._mean_and_spread(row)

    def _mean_and_spread(self, row: Row) -> list[float | None]:
        """Over the runs, each fold of which counts once in the mean; nothing where not every run has the number."""
        fractions = self.value(row)
        return [row.average(fractions), mean_and_spread(fractions)[1]] if fractions else [None, None]


def columns(rows: Sequence[Row], differ: Sequence[str]) -> list[Column]:
    """Every column of both tables, from left to right; `differ` names the settings in which records differ."""
    training = differing_training(rows)
    best: Leaders = {} if differ else {"clean": leader(rows, "clean"), "worst": leader(rows, "worst")}
    return [
        Column("Method", lambda row: row.label),
        Column("", lambda row: row.method, csv="method"),
        Column("", lambda row: "last" if row.is_last else "best", csv="checkpoint"),
        Column("Teacher", lambda row: row.teacher, csv="teacher"),
        Column("Student", lambda row: row.first.model.architecture, csv="student"),
        AccuracyColumn("Clean", lambda row: row.accuracies("clean"), csv="clean", robust=False, best=best.get("clean")),
        *(AccuracyColumn(name, _after(name), csv=name) for name in attacks_alone(rows)),
        *([AccuracyColumn(AUTOATTACK, _autoattack, csv=AUTOATTACK)] if _any_ran_autoattack(rows) else []),
        AccuracyColumn("Worst", lambda row: row.accuracies("worst"), csv="worst", best=best.get("worst")),
        Column("", lambda row: row.word, csv="verdict"),
        Column("params", lambda row: row.first.params, "{:,}".format, csv="params"),
        *([Column("not zero", _nonzero, "{:,}".format, csv="nonzero")] if any(row.first.pruned for row in rows) else []),
        Column("training time", training_seconds, duration, csv="seconds"),
        *_device_time(rows),
        Column("seeds", lambda row: row.repeats, csv="seeds"),
        Column(
            "Training" if training else "", lambda row: ", ".join(f"{key} {training_value(row, key)}" for key in training)
        ),
        *(Column("", _training_value(key), csv=key) for key in training),
        *(Column(key, _setting(key), csv=key) for key in differ),
    ]


def _device_time(rows: Sequence[Row]) -> list[Column]:
    """A column where any row has it: tables of older records stay as they are."""
    known = any(map(device_seconds, rows))
    return [Column("device time", mean_device_seconds, duration, csv="device_seconds")] if known else []


def _nonzero(row: Row) -> int:
    """Of the first seed, as the number of parameters is; as many where nothing was pruned."""
    return row.first.pruned.nonzero if row.first.pruned else row.first.params


def main_table(rows: Sequence[Row], differ: Sequence[str]) -> str:
    """Accuracies in percent, mean ± standard deviation over seeds; the best student bold where significant."""
    shown = [column for column in columns(rows, differ) if column.name]
    return markdown_table([column.name for column in shown], [[column.cell(row) for column in shown] for row in rows])


def settings_line(rows: Sequence[Row], differ: Sequence[str]) -> str:
    """What all rows share: data, split, number of images, threat, suite, seeds."""
    shared = [f"{key} {value}" for key, value in shared_settings(rows, differ).items()]
    counted = [row for row in rows if not row.is_teacher] or rows
    counts, folds = {count for row in counted for count in row.seeds}, {row.folds for row in counted}
    if counts == folds == {1}:
        seeds = "one seed: the intervals cover the choice of test images, not of the training run"
    else:
        seeds = _counted(counts, "seed") + ("" if folds == {1} else f" of each of {_counted(folds, 'fold')}")
    return ", ".join([*shared, seeds]) + "."


def spread_words(rows: Sequence[Row]) -> str:
    """What ± is in the main table, behind its settings; nothing where it has none."""
    return " ± is the standard deviation over runs." if any(len(row.records) > 1 for row in rows) else ""


def _counted(counts: Collection[int], what: str) -> str:
    """Such as 2 to 3 seeds."""
    return f"{from_to(counts)} {what}" + ("" if max(counts) == 1 else "s")


def overestimation_line(rows: Sequence[Row], differ: Sequence[str]) -> str:
    """By how many points each row looks better under PGD-20 than under AutoAttack; empty where no row ran both."""
    parts = []
    for row in rows:
        if points := row.numbers(lambda record: record.overestimation):
            parts.append(f"{row.among(differ, label=True)} {row.warning or in_points(row.average(points))}")
    head = f"PGD-20 overestimates robustness (PGD-20 − {AUTOATTACK}, in points, mean over seeds)"
    return f"{head}: {'; '.join(parts)}." if parts else ""


def warnings_line(rows: Sequence[Row], differ: Sequence[str]) -> str:
    """Which checks warned in which row, in any of its seeds; then the names of these checks, and of those that failed."""
    parts, ids = [], set()
    for row in by_one_checkpoint(rows):
        if warned := {check.id for record in row.records for check in record.warned}:
            parts.append(f"{row.among(differ, label=True)} {' '.join(sorted(warned, key=by_number))}")
            ids |= warned
    failed = {check.id for row in rows if row.warning for record in row.records for check in record.failed}
    text = f"Warnings of the soundness checks (docs/evaluation.md): {'; '.join(parts)}." if parts else ""
    names = ", ".join(with_name(name) for name in sorted(ids | failed, key=by_number))
    return " ".join(part for part in (text, f"The checks: {names}." if names else "") if part)


def upper_bounds_line(rows: Sequence[Row], differ: Sequence[str]) -> str:
    """In which rows nothing failed but AutoAttack did not run, so that no number in them is called sound."""
    bounded = [row for row in rows if row.word == "upper bound"]
    names = "all rows" if len(bounded) == len(rows) else ", ".join(row.among(differ, label=True) for row in bounded)
    return f"No check failed, AutoAttack not run, the worst case an upper bound: {names}." if bounded else ""


def folders_line(rows: Sequence[Row]) -> str:
    """Which rows are named by their folder, as nothing else is known; empty where every record says which run it is of."""
    names = dict.fromkeys(row.method for row in rows if row.is_named_by_folder)
    return f"Named by their folders, as their records do not say which run they are of: {', '.join(names)}." if names else ""


def shared_settings(rows: Sequence[Row], differ: Sequence[str]) -> dict[str, str]:
    """The settings in which all rows agree; the data by name, without its digest, and images counted over a row's folds."""
    first = rows[0].first
    shown = {**first.settings, "dataset": first.dataset.name, "n": from_to([row.n for row in rows])}
    return {key: value for key, value in shown.items() if key not in differ}


def attacks_alone(rows: Sequence[Row]) -> list[str]:
    """The attacks that any record ran on its own, in the order of the records."""
    return list(dict.fromkeys(name for row in rows for record in row.records for name in record.standalone))


def differing_training(rows: Sequence[Row]) -> list[str]:
    """The parts of the training block, precision and epochs in which students differ: not only in the method."""
    blocks = [block for row in rows if not row.is_teacher for block in _training_blocks(row)]
    keys = dict.fromkeys(key for block in blocks for key in block)
    return [key for key in keys if any(block.get(key) != blocks[0].get(key) for block in blocks)]


def training_value(row: Row, key: str) -> str:
    """One setting of a row's training; several where its seeds do not agree, a dash where training is not known."""
    return "/".join(dict.fromkeys(_words_of(record, key) for record in row.records if record.training)) or DASH


def _words_of(record: Record, key: str) -> str:
    """A record without a config is older than the settings of the data, unless it is of weights that were pruned."""
    training = record.training
    if training is None or (record.pruned and training.config is None and key in OF_DATA):
        return NOT_SAID
    return setting_words(key, training.settings.get(key))


def setting_words(key: str, value: Any) -> str:
    """A setting of training; one that a record does not have is null, as when it was written."""
    if key == "optimizer" and isinstance(value, dict):
        options = [f"{name} {setting_words(name, option)}" for name, option in (value.get("init_args") or {}).items()]
        name = str(value.get("class_path")).rpartition(".")[2]
        return f"{name} ({', '.join(options)})" if options else name
    if value is None:
        return UNSET.get(key, "none")
    if key == "eps_ramp" and isinstance(value, list):
        return " to ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def rehearsed_line(rows: Sequence[Row]) -> str:
    """That these numbers are no result, where any is of a rehearsal."""
    rehearsed = any(record.is_rehearsed for row in rows for record in row.records)
    return "A rehearsal, not a result: networks of a few steps, attacks of a few steps, a few images." if rehearsed else ""


def training_seconds(row: Row) -> float | None:
    """Mean over the seeds of which it is known."""
    return known_mean(record.training.seconds for record in row.records if record.training)


def device_seconds(row: Row) -> list[float]:
    """What the device worked on the training steps, one number a run; empty where not every record has it."""
    return row.numbers(lambda record: record.training.device_seconds if record.training else None)


def mean_device_seconds(row: Row) -> float | None:
    """Mean over the runs."""
    return known_mean(device_seconds(row))


def mean_percent(mean: float | None, spread: float | None) -> str:
    """81.2 ± 0.4 of accuracies over seeds; without ± for one seed."""
    if mean is None:
        return DASH
    return f"{100 * mean:.1f}" if spread is None else f"{100 * mean:.1f} ± {100 * spread:.1f}"


def _after(attack: str) -> Callable[[Row], list[float]]:
    return lambda row: row.numbers(lambda record: record.standalone.get(attack))


def _autoattack(row: Row) -> list[float]:
    return row.numbers(lambda record: record.autoattack_acc)


def _any_ran_autoattack(rows: Sequence[Row]) -> bool:
    return any(record.autoattack_acc is not None for row in rows for record in row.records)


def _setting(key: str) -> Callable[[Row], str]:
    return lambda row: row.first.settings[key]


def _training_value(key: str) -> Callable[[Row], str]:
    return lambda row: training_value(row, key)


def _training_blocks(row: Row) -> list[dict[str, Any]]:
    return [record.training.settings for record in row.records if record.training]
