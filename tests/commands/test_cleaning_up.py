"""Cleaning up hides no error: the file system turned read-only, and what is told is what went wrong first."""

import ast
import os
from pathlib import Path

import pytest
from pytorch_lightning import Callback
from small_runs import cli
from tiny import user_error, warned

from ard.core.errors import UserError
from ard.core.files import discard, write_report, write_whole
from ard.core.locks import alone

ROOT = Path(__file__).parents[2] / "ard"
CHANGES = ("unlink", "replace", "link", "mkdir", "rmdir", "rename")
RAISE = {"unlink", "rmtree", "rmdir", "replace", "rename", "mkdir", "write_whole", "write_text", "write_bytes"}
READ_ONLY = OSError(30, "Read-only file system")


def refuse(*_, **__):
    raise READ_ONLY


def cleanups(tree):
    """The statements that run because of an error or in spite of one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Try):
            yield from node.finalbody
            for handler in node.handlers:
                yield from handler.body
        elif isinstance(node, ast.FunctionDef) and node.name in ("__exit__", "on_exception"):
            yield from node.body


def risky(statement):
    """Calls that the disk may refuse, but for those under a `suppress`."""
    if isinstance(statement, ast.With) and "suppress" in ast.unparse(statement.items[0]):
        return
    if isinstance(statement, ast.Call):
        name = statement.func.attr if isinstance(statement.func, ast.Attribute) else getattr(statement.func, "id", "")
        if name in RAISE and not replaces_text(statement) and "ignore_errors" not in ast.unparse(statement):
            yield ast.unparse(statement)
    for child in ast.iter_child_nodes(statement):
        yield from risky(child)


def replaces_text(call):
    """`text.replace(old, new)`, where a path's has one argument and os's two."""
    function = call.func
    named = isinstance(function, ast.Attribute) and function.attr == "replace"
    return named and len(call.args) == 2 and ast.unparse(function.value) != "os"


def test_no_cleaning_up_of_ours_can_fail():
    """Every `finally`, handler, `__exit__` and `on_exception` of the project: files are removed with core/files.discard."""
    trees = {file: ast.parse(file.read_text(encoding="utf-8")) for file in sorted(ROOT.rglob("*.py"))}
    places = [(file, statement) for file, tree in trees.items() for statement in cleanups(tree)]
    assert len(places) > 60
    assert [(str(file), call) for file, statement in places for call in risky(statement)] == []


def test_a_risky_one_would_be_found():
    calls = ["b.unlink()", "os.replace(a, b)", "replace(a, b)", "a.replace(b)"]
    ends = ["with suppress(OSError):\n        a.rmdir()", "text.replace('a', 'b')", *calls]
    tree = ast.parse("try:\n    f()\nfinally:\n    " + "\n    ".join(ends))
    assert [call for statement in cleanups(tree) for call in risky(statement)] == calls


def test_the_first_error_is_the_one_that_is_told(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    with monkeypatch.context() as patch, user_error("the first") as caught, alone(tmp_path / "run"):
        for change in CHANGES:
            patch.setattr(os, change, refuse)
        discard(tmp_path / "file")
        write_report(tmp_path / "crash.json", "{}")
        raise UserError("the first")
    assert caught.value.__context__ is None
    said = f"ard: warning: {tmp_path}/crash.json: cannot be written (Read-only file system)\n"
    assert capsys.readouterr() == ("", said)
    with monkeypatch.context() as patch, user_error("No space left on device"):
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        patch.setattr(os, "unlink", refuse)
        write_whole(tmp_path / "file", "text")


class ReadOnly(Callback):
    """From the second epoch on, no file can be made, moved or removed any more."""

    def on_train_epoch_start(self, trainer, _):
        if trainer.current_epoch == 1:
            for change in CHANGES:
                setattr(os, change, refuse)


@pytest.mark.fault(55)
def test_a_file_system_that_becomes_read_only(command, capsys, tmp_path, observed, monkeypatch):
    for change in CHANGES:
        monkeypatch.setattr(os, change, getattr(os, change))  # put back afterwards
    callback = "--trainer.callbacks=test_cleaning_up.ReadOnly"
    words = command(tmp_path / "run", "natural", "--trainer.max_epochs=3", callback)
    with warned() as texts:
        status, _, err = cli(capsys, *words)
    assert (status, err.count("\n")) == (2, 1), err
    assert err.endswith("ckpt: cannot be written (Read-only file system)\n")
    assert all("metrics.csv" in text for text in texts)
    observed(f"exit {status}: {err}")
