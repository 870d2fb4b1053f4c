"""What a record and a card say is of the bytes that were used, and what was changed afterwards is refused."""

import json
import random
import re

import pytest
from small_records import first, write
from small_runs import cli, narrow, sha256, write_weights
from tiny import user_error, warned

from ard.artifacts.card import Card
from ard.artifacts.record import SCHEMA
from ard.artifacts.record_file import read_record, write_record
from ard.artifacts.weights import card_of, read_weights, save_weights
from ard.evaluation.evaluation import Evaluation

DATASET = {"class_path": "ard.data.Digits", "init_args": {}, "digest": "0123456789abcdef"}


@pytest.mark.fault(59)
def test_weights_replaced_under_an_evaluation(place, capsys, monkeypatch, observed):
    weights = write_weights(place / "student.safetensors")
    used, judge = sha256(weights), Evaluation.judge

    def replace_and_judge(self, *arguments):
        write_weights(weights, narrow())
        judge(self, *arguments)

    monkeypatch.setattr(Evaluation, "judge", replace_and_judge)
    with warned() as said:
        assert cli(capsys, "test", weights, "--limit=20")[0] in (0, 3, 4)
    record = read_record(place / "evaluation.json")
    assert record.weights.sha256 == used != sha256(weights)
    assert record.clean_acc > 0.5  # of the first file: the second one is untrained
    assert f"was replaced while it was in use: SHA-256 {used[:12]}… was used" in record.notes[-1]
    assert said == [record.notes[-1]]
    observed(re.sub("[0-9a-f]{12}…", "abc…", said[0]))
    status, out, err = cli(capsys, "compare", place)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "evaluation.json is of other weights" in err


@pytest.mark.fault(59)
def test_a_teacher_replaced_in_training(fit, teacher_file, tmp_path, observed):
    import pytorch_lightning as pl

    teacher = tmp_path / "teacher.safetensors"
    teacher.write_bytes(teacher_file.read_bytes())
    used = sha256(teacher)

    class Replaces(pl.Callback):
        def on_train_batch_start(self, *_):
            write_weights(teacher, narrow())

    with warned() as said:
        fit(tmp_path / "run", "ard", f"--model.init_args.teacher.init_args.weights={teacher}", callbacks=[Replaces()])
    for name in ("student", "last"):
        assert card_of(tmp_path / "run" / f"{name}.safetensors").teacher == used != sha256(teacher)
    line = next(line for line in said if "replaced while" in line)
    assert line.endswith("the student was trained with the first")
    observed(re.sub("[0-9a-f]{12}…", "abc…", line))


def test_a_teacher_replaced_before_it_is_loaded_is_one_line(teacher_file, tmp_path):
    from ard.models import Frozen

    path = tmp_path / "teacher.safetensors"
    path.write_bytes(teacher_file.read_bytes())
    teacher = Frozen(weights=str(path))
    assert teacher.sha256 == sha256(path)
    write_weights(path, narrow())
    with user_error("teacher.safetensors was replaced while the run began"):
        teacher.load(num_classes=10, input_shape=(1, 8, 8))


@pytest.mark.fault(62)
def test_no_change_of_a_file_of_weights_goes_unseen(tmp_path, observed):
    """But one that makes it a file of an older version, which had no digest."""
    path, draw = tmp_path / "w.safetensors", random.Random(0)
    save_weights(path, narrow(), Card(class_path="ard.models.ResNet", num_classes=10))
    good, refused = path.read_bytes(), 0
    start = good.index(b'"digest"') + 1
    for _ in range(300):
        at = draw.choice([at for at in (draw.randrange(len(good)), draw.randrange(600)) if not start <= at < start + 6])
        path.write_bytes(good[:at] + bytes([good[at] ^ 1 << draw.randrange(8)]) + good[at + 1 :])
        with user_error(r"w\.safetensors"):
            read_weights(path)
        refused += 1
    observed(f"{refused} of 300 files with one flipped bit refused")


@pytest.mark.fault(62)
def test_a_record_that_was_edited(place, capsys, observed):
    weights = write_weights(place / "student.safetensors")
    assert cli(capsys, "test", weights, "--limit=20")[0] in (0, 3)
    path = place / "evaluation.json"
    status, out, _ = cli(capsys, "verify", path, weights)
    assert status == 0
    assert out.startswith(f"{path}: as it was written, and of these weights; its verdict: ")
    assert cli(capsys, "verify", place, place)[:2] == (0, out)
    tree = json.loads(path.read_text())
    assert tree["schema"] == SCHEMA
    path.write_text(json.dumps(tree))  # other spaces, the same content
    assert cli(capsys, "compare", place)[0] == 0
    path.write_text(json.dumps(tree | {"params": 7}))
    for words in (["compare", place], ["verify", path, weights]):
        status, out, err = cli(capsys, *words)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert "is damaged (digest: that of another content, so it was changed after it was written)" in err
    observed(f"exit {status}: {err}")


@pytest.mark.fault(62, 63)
def test_an_older_record_says_that_it_has_no_digest(place, capsys, observed):
    weights = write_weights(place / "student.safetensors")
    path = place / "evaluation.json"
    write(path, first(0.9), first(0.5), weights={"path": "student.safetensors", "sha256": sha256(weights)})
    status, out, _ = cli(capsys, "verify", path, weights)
    assert status == 0
    assert "of these weights; it has no digest of itself (schema 3), so a change of it would not be seen" in out
    observed(out)
    assert cli(capsys, "compare", place)[0] == 0
    write(path, first(0.9), first(0.5), weights={"path": "student.safetensors", "sha256": "a" * 64})
    for words in (["compare", place], ["verify", path, weights]):
        status, out, err = cli(capsys, *words)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert "is of other weights" in err
    assert f"of SHA-256 {'a' * 12}…, these are {sha256(weights)[:12]}…; expected its own weights" in err
    observed(f"exit {status}: {err}")


def test_a_record_is_written_with_its_digest_whatever_it_held(tmp_path):
    from dataclasses import replace

    path = tmp_path / "evaluation.json"
    record = replace(write(path, first(0.9), first(0.5)), schema=SCHEMA, digest="odd")
    write_record(path, record)
    stored = read_record(path)
    assert len(stored.digest) == 64
    write_record(tmp_path / "copy.json", stored)
    assert (tmp_path / "copy.json").read_bytes() == path.read_bytes()


def test_names_in_records_give_the_terminal_no_orders(place, capsys):
    write(place / "evaluation.json", first(0.9), first(0.5), dataset={**DATASET, "name": "\x1b[2J\x07 Digits"})
    status, out, _ = cli(capsys, "compare", place)
    assert status == 0
    assert "\\x1b[2J\\x07 Digits" in out
    assert out.replace("\n", "").isprintable()
