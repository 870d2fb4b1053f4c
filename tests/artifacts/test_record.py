"""ard.artifacts.record: what is stored is read and written back to the byte, what is damaged is refused in one line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ard.artifacts.record import SCHEMA
from ard.artifacts.record_file import read_record, write_record
from ard.core.errors import UserError

RESULTS = Path(__file__).parents[2] / "docs" / "results"
EXAMPLE = RESULTS / "digits-full" / "ard" / "seed0" / "evaluation.json"


def test_what_is_read_is_written_to_the_byte(tmp_path):
    write_record(tmp_path / "evaluation.json", read_record(EXAMPLE))
    assert (tmp_path / "evaluation.json").read_bytes() == EXAMPLE.read_bytes()


@pytest.fixture
def changed(tmp_path):
    """changed(change): the file of a stored record in which `change(tree)` has changed something."""

    def write(change):
        tree = json.loads(EXAMPLE.read_text())
        change(tree)
        path = tmp_path / "evaluation.json"
        path.write_text(json.dumps(tree))
        return path

    return write


def put(key, value):
    """A change that puts a value at a dotted place."""

    def change(tree):
        *parts, last = key.split(".")
        for part in parts:
            tree = tree[int(part) if part.isdigit() else part]
        tree[int(last) if last.isdigit() else last] = value

    return change


def without(key):
    def change(tree):
        *parts, last = key.split(".")
        for part in parts:
            tree = tree[int(part) if part.isdigit() else part]
        del tree[last]

    return change


def spared(tree):
    """Every image survives that the network gets right."""
    tree["bits"]["worst"], tree["robust_acc"] = tree["bits"]["clean"], tree["clean_acc"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("suite"), "has no suite"),
        (without("training.seed"), "has no training.seed"),
        (without("attacks.0.after"), "has no attacks[0].after"),
        (put("surplus", 1), "surplus: a key that no field has"),
        (put("run.odd", 1), "run.odd: a key that no field has"),
        (put("n", "many"), "n: 'many', expected a whole number"),
        (put("n", True), "n: True, expected a whole number"),
        (put("params", 1.5), "params: 1.5, expected a whole number"),
        (put("clean_acc", 1.5), "clean_acc: 1.5, expected 0 to 1"),
        (put("clean_acc", 0.25), "clean_acc = 0.25, but its verdicts make"),
        (put("attacks.0.accuracy", 0.25), "accuracy after FGSM = 0.25, but its verdicts make"),
        (put("attacks.0.name", "Odd"), "bits of clean, FGSM"),
        (put("attacks.0.group", None), "attacks[0].group: None, expected a value or no such key"),
        (put("autoattack_acc", "much"), "autoattack_acc: 'much', expected a number"),
        (put("autoattack_acc", float("nan")), "NaN is no number"),
        (put("verdict", "perfect"), "verdict: 'perfect', expected one of sound, upper bound, warnings, unreliable"),
        (put("schema", 1), "key: a key that no field has"),
        (put("schema", True), "schema: True, expected one of 1, 2, 3, 4"),
        (put("schema", SCHEMA + 1), f"schema {SCHEMA + 1}, this version knows up to {SCHEMA}"),
        (put("verdict", "unreliable"), "verdict: unreliable, but of its checks failed: none"),
        (put("checks.0.verdict", "fail"), "verdict: warnings, but of its checks failed: "),
        (put("autoattack_acc", 0.25), "autoattack_acc = 0.25, but its verdicts make"),
        (spared, "bits of worst: not those that every attack left"),
        (put("run.role", "guest"), "run.role: 'guest', expected one of student, teacher"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_is_named_in_one_line(change, words, changed):
    with pytest.raises(UserError) as caught:
        read_record(changed(change))
    assert words in str(caught.value)
    assert "expected a record of `ard evaluate`: evaluate the weights again" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_file_or_too_large_is_refused_before_it_is_read(tmp_path):
    large = tmp_path / "large.json"
    with large.open("wb") as file:
        file.truncate(2**24 + 1)
    for path, words in (
        (tmp_path, "no regular file"),
        (large, "bytes, at most 16777216"),
        (tmp_path / "none", "none: no such file; expected a record"),
    ):
        with pytest.raises(UserError, match=words):
            read_record(path)


def test_a_record_that_contradicts_itself_is_not_written(tmp_path):
    from dataclasses import replace

    with pytest.raises(ValueError, match="its verdicts make"):
        write_record(tmp_path / "evaluation.json", replace(read_record(EXAMPLE), robust_acc=0.99))
    assert list(tmp_path.iterdir()) == []


def test_reading_records_needs_no_torch():
    modules = (f"ard.artifacts.{name}" for name in ("record", "paths", "metrics", "facts"))
    code = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
