"""The page of one run: what was trained, how it went, how robust it is, and why the numbers can be believed."""

from collections.abc import Mapping, Sequence
from typing import Any

from ard.artifacts.diagnosis import diagnosis_of
from ard.artifacts.record import REHEARSED, Record
from ard.artifacts.record_parts import AttackResult
from ard.core.statistics import wilson_interval
from ard.core.text import DASH, duration, percent_within, radius
from ard.report.evidence_card import (
    attack_cells,
    images_used,
    measurement_facts,
    percent_and_interval,
    threat_model,
    training_facts,
    verdict_explained,
    what_it_does_not_say,
)
from ard.report.page.charts import Chart, Line, Look, PlacedMark, across, upwards
from ard.report.page.images import class_names, confusion, pictured
from ard.report.page.inside import inside_of, spaced
from ard.report.page.learning import curves_of_run
from ard.report.page.reproduce import commands_again
from ard.report.page.stored_run import StoredRun
from ard.report.page.tables import Cell, Table, checks_table, classes_table
from ard.report.table import setting_words

HUGE = 1e6  # no radius: what a file says of itself may be any number
LINE, CLEAN = Look("t0"), Look("t1", "diamond")


def run_context(run: StoredRun) -> dict[str, Any]:
    """Everything that templates/run.html shows of a run."""
    record = run.record
    missing = list(run.missing)
    charts = curves_of_run(run.metrics, run.selected_epoch, hide_robust=bool(run.warning))
    return {
        "title": title_of(run),
        "subtitle": _subtitle(run),
        "remarks": _notices(run),
        "trained": _facts(run),
        "curves": charts,
        "config": run.config,
        "commands": list(commands_again(run.folder, run.first.path if run.first else None, run.record, run.diagnosis)),
        "warning": run.warning,
        **(_measured(run, record) if record else {"record": None}),
        **_images(run),
        **_inside(run, missing),
        "missing": missing,
    }


def title_of(run: StoredRun) -> str:
    """The method with what was swept and the seed; of a run that nobody named, its folder."""
    first = run.first
    told = run.summary.get("run")
    named = told if isinstance(told, Mapping) else {}
    if first is not None and first.record.run is not None:
        return f"{first.name}, {first.record.repetition.words}"
    if "method" in named:
        return f"{named['method']}, seed {named.get('seed', 0)}"
    folder = run.folder.root.resolve()
    return f"{folder.parent.name}/{folder.name}" if folder.name.startswith("seed") else folder.name


def _subtitle(run: StoredRun) -> str:
    record = run.record
    if record is None:
        return "not evaluated"
    return f"{record.model.architecture} on {record.dataset.name}, {record.threat.words}"


def _notices(run: StoredRun) -> list[str]:
    """What a reader has to know before any number."""
    notices = []
    if run.first is not None and run.first.is_stale:
        notices.append("The record is of other weights than those beside it: evaluate these.")
    if run.record is not None and run.record.is_rehearsed:
        notices += [note for note in run.record.notes if note.startswith(REHEARSED)]
    if run.record is not None and run.record.warning:
        notices.append(run.record.explained_warning)
    if stopped := run.summary.get("stopped"):
        notices.append(f"Training ended early: {stopped}")
    if run.folder.crash.is_file():
        notices.append("A loss or gradient was not finite: crash.json has the step.")
    warnings = run.summary.get("warnings")
    return notices + [f"Training warned: {text}" for text in (warnings if isinstance(warnings, list) else [])]


def _facts(run: StoredRun) -> list[tuple[str, str]]:
    """What was trained: as training itself told it, and as the record has it."""
    told = run.summary.get("run")
    items = told.items() if isinstance(told, Mapping) else ()
    facts = [(spaced(str(key)), _words(key, value)) for key, value in items if value is not None]
    if seconds := run.summary.get("seconds"):
        facts.append(("training time", duration(float(seconds)) if isinstance(seconds, int | float) else str(seconds)))
    record = run.record
    if record is None:
        return facts
    network = [
        ("Network", f"{record.model.architecture}, {record.params:,} weights, {record.macs:,} multiplications an image")
    ]
    if not facts and record.training is not None:
        settings = ", ".join(
            f"{spaced(str(key))} {setting_words(key, value)}" for key, value in record.training.settings.items()
        )
        facts = [("Training", settings), ("Training time", duration(record.training.seconds))]
    told_already = {"Training seed"} if items else set()
    return [*facts, *network, *(fact for fact in training_facts(record) if fact[0] not in told_already)]


def _measured(run: StoredRun, record: Record) -> dict[str, Any]:
    """Numbers of the first record, and those of the other weights beside it."""
    return {
        "record": record,
        "tiles": _tiles(record),
        "checkpoints": _checkpoints(run),
        "attacks": _attacks(record, record.attacks),
        "probes": _attacks(record, record.probes),
        "radii": None if record.warning or not record.curve else _radii(record),
        "classes": classes_table(record) if record.per_class else None,
        "checks": checks_table(record),
        "verdict": verdict_explained(record),
        "threat": threat_model(record),
        "used": images_used(record),
        "measured": measurement_facts(record),
        "limits": what_it_does_not_say(record),
    }


def _tiles(record: Record) -> list[tuple[str, str, str]]:
    """The few numbers that everybody asks for: name, number, interval."""
    tiles = [("clean accuracy", *percent_and_interval(record.clean_acc, record.n))]
    if record.warning:
        return [*tiles, ("robust accuracy", DASH, record.warning)]
    tiles.append(("robust accuracy", *percent_and_interval(record.robust_acc, record.n)))
    if record.autoattack_acc is not None:
        tiles.append(("after AutoAttack", *percent_and_interval(record.autoattack_acc, record.n)))
    return tiles


def _checkpoints(run: StoredRun) -> Table:
    lines = []
    for stored in run.records:
        record = stored.record
        epoch = Cell("not known") if record.training is None else Cell.number(record.training.epoch)
        robust = Cell(record.warning) if record.warning else Cell.percent(record.robust_acc, record.n)
        clean = Cell.percent(record.clean_acc, record.n)
        lines.append([Cell(stored.path.name, stored.path.name), epoch, clean, robust, Cell(record.word)])
    return Table(["Record", "epoch", "clean (%)", "worst case (%)", "verdict"], lines)


def _attacks(record: Record, entries: Sequence[AttackResult]) -> Table | None:
    """With what each found and cost; None where there are none."""
    if not entries:
        return None
    lines = []
    for (name, settings, seen, after, shown), entry in zip(attack_cells(record, entries), entries, strict=True):
        accuracy = Cell(record.warning) if record.warning else Cell(shown, float(entry.accuracy), share=entry.accuracy)
        took = Cell(DASH) if entry.seconds is None else Cell(duration(entry.seconds), float(entry.seconds))
        images = Cell(seen) if entry.attacked is None else Cell.number(entry.attacked, seen)
        lines.append([Cell(name, name), accuracy, images, Cell(after), took, Cell(settings)])
    return Table(["Name", "accuracy (%)", "images seen", "after", "time", "settings"], lines)


def _radii(record: Record) -> Chart:
    """Accuracy after PGD-20 against the radius."""
    points, marks = record.accuracy_by_radius, []
    for eps, accuracy in points.items():
        low, high = wilson_interval(accuracy, record.n)
        name = f"eps {radius(eps)}" if eps else "clean"
        words = f"{name}: {percent_within(accuracy, low, high)}"
        marks.append(PlacedMark(eps, 100 * accuracy, words, LINE if eps else CLEAN, along=(100 * low, 100 * high)))
    line = Line("PGD-20", tuple((mark.x, mark.y) for mark in marks), LINE)
    return Chart(
        "Accuracy after PGD-20 against the radius",
        across("eps", points),
        upwards("accuracy (%)", [0, 100]),
        summary="; ".join(mark.words for mark in marks),
        note=f"95 % intervals over {record.n:,} images (Wilson). The threat is {record.threat.words}.",
        lines=[line],
        marks=marks,
        upright=[(record.threat.eps, "threat")],
    )


def _images(run: StoredRun) -> dict[str, Any]:
    shown, record = run.shown, run.record
    if shown is None or record is None:
        return {"gallery": [], "confusions": [], "magnified": 0.0}
    names = class_names(record, len(shown.confusion_clean))
    gallery, factor = pictured(shown, names)
    confusions = [confusion("Clean images", shown.confusion_clean, names)]
    if not record.warning:
        confusions.append(confusion("Attacked images", shown.confusion_attacked, names))
    return {"gallery": gallery, "confusions": confusions, "magnified": factor}


def _inside(run: StoredRun, missing: list[str]) -> dict[str, Any]:
    if run.diagnosis is None:
        return {"diagnosis": None, "inside": []}
    path = diagnosis_of(run.first.path if run.first else run.folder.records[0])
    inside, why = inside_of(run.diagnosis, path, run.warning)
    missing += why
    return {"diagnosis": run.diagnosis, "inside": inside}


def _words(key: str, value: object) -> str:
    if key == "eps" and isinstance(value, float) and 0 <= value < HUGE:
        return radius(value)
    return str(value)
