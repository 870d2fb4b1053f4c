"""A diagnosis as it is shown: whatever a diagnostic left, by its kind alone, so that a new one needs nothing here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from ard.artifacts.diagnosis import Curve, Diagnosis, DiagnosticResult, Plane, diagnosis_of, pictures_of, read_diagnosis
from ard.artifacts.facts import fold_of
from ard.core.errors import UserError
from ard.core.files import open_regular
from ard.core.text import DASH
from ard.report.page.charts import Chart, Legend, Line, Look, across, of_cells, upwards
from ard.report.page.pixels import data_uri, heat
from ard.report.page.tables import Cell, Table
from ard.report.rows import Row, StoredRecord

LARGEST = 2**26  # bytes of a file of pictures
LARGEST_PICTURE = 2**22  # values


@dataclass(frozen=True)
class Inside:
    """What one diagnostic left beside its numbers: its words, and pictures as charts and images (name, address)."""

    result: DiagnosticResult
    settings: str
    layers: Table | None
    charts: list[Chart]
    images: list[tuple[str, str]]

    @property
    def is_more_than_words(self) -> bool:
        """Whether there is something to look at."""
        return bool(self.layers or self.charts or self.images)


@dataclass(frozen=True)
class Group:
    """The diagnostics of one group: their numbers in one table, then what each left."""

    name: str
    values: Table
    found: list[Inside]


@dataclass(frozen=True)
class SideBySide:
    """Students of one architecture, what was found in each beside its robust accuracy, and what the diagnostics tell.

    `measured` says on which images, attacked within which radius.
    """

    architecture: str
    measured: str
    table: Table
    results: list[DiagnosticResult]


def inside_of(diagnosis: Diagnosis, path: Path, warning: str) -> tuple[list[Group], list[str]]:
    """Every diagnostic in its group, and why pictures are missing; `warning` stands in place of robust accuracies."""
    pictures, why = _pictures(pictures_of(path))
    groups = []
    for name in dict.fromkeys(result.group for result in diagnosis.results):
        results = [result for result in diagnosis.results if result.group == name]
        found = [_inside(result, pictures, why, warning) for result in results]
        groups.append(Group(name, _values(results, warning), found))
    return groups, why


def _inside(result: DiagnosticResult, pictures: Mapping[str, str], why: list[str], warning: str) -> Inside:
    return Inside(
        result=result,
        settings=", ".join(f"{key} {_number(value)}" for key, value in result.settings.items()),
        layers=_layers(result, warning),
        charts=_charts(result, why, warning),
        images=[(key.partition("/")[2], uri) for key, uri in pictures.items() if key.partition("/")[0] == result.name],
    )


def students_side_by_side(rows: Sequence[Row], differ: Sequence[str]) -> list[SideBySide]:
    """The students of each architecture of which at least two were diagnosed, and alike: a line a run, no score.

    `differ` names the settings in which their records differ, which then stand beside robust accuracy.
    """
    groups: dict[str, list[tuple[Row, StoredRecord, Diagnosis]]] = {}
    for row in rows:
        for member in row.members if not row.is_teacher else ():
            if (found := _diagnosis_of(member)) is not None:
                model = member.record.model
                alike = f"{model.class_path} {model.init_args} {_measured(found)}"
                groups.setdefault(alike, []).append((row, member, found))
    return [_students(members, differ) for members in groups.values() if len(members) > 1]


def _measured(diagnosis: Diagnosis) -> str:
    """What must agree before numbers of two diagnoses stand in one table; of folds each is of other images."""
    init_args = diagnosis.dataset.init_args
    count = "a fold" if fold_of({"init_args": init_args}) is not None else f"{diagnosis.n} images"
    return f"{count} of {diagnosis.dataset.name} {diagnosis.split}, {diagnosis.threat.words}"


def _students(members: Sequence[tuple[Row, StoredRecord, Diagnosis]], differ: Sequence[str]) -> SideBySide:
    numbers = [
        {f"{spaced(result.name)}: {key}": value for result in found.results for key, value in result.values.items()}
        for _, _, found in members
    ]
    names = list(dict.fromkeys(name for of in numbers for name in of if "robust accuracy" not in name))
    lines = []
    for (row, member, _), of in zip(members, numbers, strict=True):
        record = member.record
        robust = Cell(record.warning) if record.warning else Cell.percent(record.robust_acc, record.n)
        known = {name for name in of if not (record.warning and _is_under_attack(name))}
        cells = [Cell.number(of[name]) if name in known else Cell(DASH) for name in names]
        settings = [Cell(record.settings[key], record.settings[key]) for key in differ]
        lines.append(
            [
                Cell(row.label, row.label),
                Cell(record.repetition.words.removeprefix("seed "), float(record.training_seed)),
                robust,
                *settings,
                *cells,
            ]
        )
    table = Table(["Method", "seed", "robust accuracy (%)", *differ, *names], lines)
    results = {result.name: result for _, _, found in members for result in found.results}
    (_, first, diagnosis), *_ = members
    return SideBySide(first.record.model.architecture, _measured(diagnosis), table, list(results.values()))


def _diagnosis_of(member: StoredRecord) -> Diagnosis | None:
    """The diagnosis beside a record, where it is of the same weights; a damaged one is told on the run's own page."""
    try:
        diagnosis = read_diagnosis(diagnosis_of(member.path))
    except UserError:
        return None
    return diagnosis if diagnosis.weights.sha256 == member.record.weights.sha256 else None


def _values(results: Sequence[DiagnosticResult], warning: str) -> Table:
    lines = []
    for result in results:
        for name, value in result.values.items():
            number = Cell(warning) if warning and _is_under_attack(name) else Cell.number(value)
            lines.append([Cell(spaced(result.name), result.name), Cell(name, name), number])
    return Table(["Diagnostic", "what", "value"], lines)


def spaced(name: str) -> str:
    """first_order_distance -> first order distance."""
    return name.replace("_", " ")


def _is_under_attack(name: str) -> bool:
    """Whether a number or line is of attacked images, which say nothing where a check of the attacks failed."""
    return "robust" in name or "attacked" in name


def _layers(result: DiagnosticResult, warning: str) -> Table | None:
    if not result.layers:
        return None
    every = dict.fromkeys(name for of in result.layers.values() for name in of)
    names = [name for name in every if not (warning and _is_under_attack(name))]
    lines = [
        [Cell(layer), *(Cell.number(of[name]) if name in of else Cell(DASH) for name in names)]
        for layer, of in result.layers.items()
    ]
    return Table(["Layer", *names], lines)


def _charts(result: DiagnosticResult, why: list[str], warning: str) -> list[Chart]:
    charts = []
    kinds: tuple[Mapping[str, Curve | Plane], ...] = (result.curves or {}, result.planes or {})
    for name, one in (item for kind in kinds for item in kind.items()):
        if warning and _is_under_attack(name):
            continue
        try:
            charts.append(_lines(name, one, warning) if isinstance(one, Curve) else _plane(name, one))
        except (ValueError, IndexError):
            why.append(f"{result.name}: the picture {name} is damaged, its numbers do not belong together.")
    return charts


def _lines(name: str, curve: Curve, warning: str) -> Chart:
    shown = {of: values for of, values in curve.lines.items() if not (warning and _is_under_attack(of))}
    lines = [
        Line(of, tuple(zip(curve.x, values, strict=True)), Look.numbered(k)) for k, (of, values) in enumerate(shown.items())
    ]
    every = [value for values in shown.values() for value in values]
    legend = [Legend(line.name, line.look, is_line=True) for line in lines] if len(lines) > 1 else []
    return Chart(name, across(curve.x_label, curve.x), upwards(curve.y_label, every), lines=lines, legend=legend)


def _plane(name: str, plane: Plane) -> Chart:
    values = np.array(plane.values, float)
    if values.shape != (len(plane.y), len(plane.x)):
        raise ValueError(f"{values.shape} values")
    words = f"{plane.value_label}: {_number(float(values.min()))} (dark) to {_number(float(values.max()))} (bright)"
    x = of_cells(plane.x_label, plane.x)
    y = of_cells(plane.y_label, plane.y, upright=True)
    turned = values[:: -1 if plane.y[-1] >= plane.y[0] else 1, :: 1 if plane.x[-1] >= plane.x[0] else -1]
    return Chart(name, x, y, summary=words, note=words, image=heat(turned))


def _pictures(path: Path) -> tuple[dict[str, str], list[str]]:
    """The pictures in a file as addresses, by "diagnostic/name"; and why there are none, where the file is damaged."""
    if not path.exists():
        return {}, []
    try:
        with open_regular(path) as file:
            content = file.read(LARGEST + 1)
        pictures = load(content) if len(content) <= LARGEST else {}
        wrong = [name for name, one in pictures.items() if one.ndim != 3 or one.dtype != np.uint8 or not one.size]
        if wrong or not pictures or any(one.size > LARGEST_PICTURE for one in pictures.values()):
            raise ValueError("no pictures of 8 bits")
        return {name: data_uri(pictures[name]) for name in sorted(pictures, key=_in_order)}, []
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        return {}, [f"{path.name} is damaged ({str(error)[:200]}): its pictures are left out."]


def _in_order(name: str) -> tuple[int, str]:
    """class 2 before class 10."""
    return len(name), name


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}".replace("-", "−")
