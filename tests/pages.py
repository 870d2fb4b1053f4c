"""Folders of runs as training, evaluation and diagnosis leave them, made by hand; and what a page says, read back."""

import json
from html.parser import HTMLParser

import numpy as np
from safetensors.numpy import save
from small_records import full_record

from ard.artifacts.diagnosis import (
    Curve,
    Diagnosis,
    DiagnosticResult,
    Plane,
    Skipped,
    diagnosis_of,
    pictures_of,
    write_diagnosis,
)
from ard.artifacts.paths import RecordFiles
from ard.artifacts.record_file import write_record
from ard.artifacts.shown import Shown, write_shown

EMPTY = {
    "area",
    "base",
    "br",
    "col",
    "embed",
    "hr",
    "img",
    "input",
    "link",
    "meta",
    "source",
    "wbr",
    "path",
    "rect",
    "image",
}


class Page(HTMLParser):
    """A page as a browser takes it apart: its text, its tags with their attributes, and its tables."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.tables, self._open, self._words = [], {}, [], []
        self.feed(html)

    @classmethod
    def of(cls, path):
        return cls(path.read_text(encoding="utf-8"))

    @property
    def text(self):
        return " ".join(" ".join(self._words).split())

    def all_of(self, tag):
        """The attributes of every tag of that name."""
        return [attributes for name, attributes in self.tags if name == tag]

    def table(self, caption):
        """The rows of the table whose caption begins so: of every cell its text and attributes."""
        (found,) = [rows for name, rows in self.tables.items() if name.startswith(caption)]
        return found

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        if tag not in EMPTY:
            self._open.append(tag)
        if tag == "table":
            self._caption, self._rows = "", []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append(["", attributes])

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass
        if tag == "table":
            self.tables[self._caption] = [[(" ".join(text.split()), of) for text, of in row] for row in self._rows]

    def handle_data(self, data):
        if not {"script", "style"} & set(self._open):
            self._words.append(data)
            if "caption" in self._open:
                self._caption += data
            elif {"td", "th"} & set(self._open):
                self._rows[-1][-1][0] += data


def write_run(folder, record=None, *, metrics=True, shown=True, diagnosis=True, summary=None, **changes):
    """The folder of a run; `changes` are of its record, a full one of two classes."""
    folder.mkdir(parents=True, exist_ok=True)
    record = record or full_record(**changes)
    write_record(folder / "evaluation.json", record)
    (folder / "config.yaml").write_text("model:\n  class_path: ard.Distillation\n")
    if metrics:
        write_metrics(folder)
    if summary:
        (folder / "summary.json").write_text(json.dumps(summary))
    if shown:
        write_shown(RecordFiles(folder / "evaluation.json").shown, shown_of(record))
    if diagnosis:
        path = diagnosis_of(folder / "evaluation.json")
        write_diagnosis(path, diagnosis_for(record))
        rainbow = np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4)
        pictures_of(path).write_bytes(save({"looked_at/cat": rainbow, "looked_at/dog": rainbow}))
    return record


def write_metrics(folder, epochs=4):
    """Two steps and a validation an epoch; clean accuracies 0.1, 0.2, ..., robust ones half of them."""
    lines = ["step,epoch,lr,train/loss,train/robust_acc,val/clean_acc,val/loss,val/robust_acc"]
    for epoch in range(epochs):
        lines += [f"{3 * epoch},{epoch},0.1,{8 - epoch},0.3,,,", f"{3 * epoch + 1},{epoch},0.1,{6 - epoch},0.5,,,"]
        lines.append(f"{3 * epoch + 2},{epoch},,,,{(epoch + 1) / 10},2.5,{(epoch + 1) / 20}")
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")


def shown_of(record, *, count=4, shape=(1, 8, 8), classes=2):
    """Images of noise, the first half of them broken; confusions with the accuracies of the record."""
    draw = np.random.default_rng(0)
    y = np.arange(count) % classes
    clean = np.eye(classes, dtype=np.float32)[y] * 0.8 + 0.2 / classes
    attacked = clean.copy()
    attacked[: count // 2] = np.roll(clean[: count // 2], 1, axis=1)
    return Shown(
        confusion_clean=confusion(record.n, record.clean_acc, classes),
        confusion_attacked=confusion(record.n, record.robust_acc, classes),
        index=np.arange(count),
        y=y,
        clean=draw.integers(0, 256, (count, *shape), dtype=np.uint8),
        perturbation=draw.choice([-8 / 255, 8 / 255], (count, *shape)).astype(np.float32),
        clean_probabilities=clean,
        attacked_probabilities=attacked,
        weights=record.weights.sha256,
        dataset=record.dataset.digest,
        key=record.key,
    )


def confusion(n, accuracy, classes):
    """Of equally many images a class; all mistakes name the next class."""
    each, right = n // classes, round(accuracy * n / classes)
    return np.eye(classes, dtype=int) * right + np.roll(np.eye(classes, dtype=int), 1, axis=1) * (each - right)


def diagnosis_for(record, *, name="looked_at", value=0.25):
    """One diagnostic that leaves everything a diagnostic can leave."""
    x = (-1.0, 0.0, 1.0)
    result = DiagnosticResult(
        name=name,
        group="anything",
        tells="what it tells",
        cannot="say what it cannot",
        source="arXiv:0000.00000",
        n=record.n,
        settings={"steps": 3.0, "how": "at random"},
        values={"median": value, "robust accuracy": 0.6123, "agreement, attacked": 0.7891},
        layers={"stem": {"rank": 2.0}, "head": {"rank": 3.0, "norm": 4.0, "match, attacked": 0.7373}},
        curves={
            "a line": Curve(x_label="step", y_label="loss", x=x, lines={"clean": (1.0, 0.0, 1.0), "robust": (2.0, 1.0, 2.0)})
        },
        planes={"a plane": Plane(x_label="a", y_label="b", value_label="loss", x=x, y=x[:2], values=((1.0, 2.0, 3.0),) * 2)},
        seconds=1.5,
    )
    return Diagnosis(
        weights=record.weights,
        model=record.model,
        teacher=None,
        dataset=record.dataset,
        split="test",
        n=record.n,
        threat=record.threat,
        seed=0,
        attack="PGD-20",
        clean_acc=0.9,
        robust_acc=0.6123,
        results=(result,),
        skipped=(Skipped(name="left_out", reason="on demand"),),
        versions={},
        device="cpu",
        seconds=2.0,
    )
