"""Nobody listens: closed streams, a full disk under them, a reader that went away. What was to be done is done."""

import io
import os
import re
import signal
import sys
import warnings
from pathlib import Path

import pytest
from killed_runs import witnessed
from prepared import start, statuses
from pytorch_lightning import Callback
from tiny import user_error

from ard.core.terminal import console, hand_out, say

ROOT = Path(__file__).parents[2] / "ard"
DEAF = ["closed", "full", "gone", "ascii"]  # what stdout and stderr may be


class Loud(Callback):
    """Prints and warns, as anybody's callback may."""

    def on_fit_start(self, *_):
        print("loud: ε", flush=True)

    def on_train_end(self, *_):
        print("loud: ε", file=sys.stderr, flush=True)
        warnings.warn("loud", stacklevel=1)


def deafen(kind):
    """Makes stdout and stderr of this process what Python would find when it starts so."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = None
        if kind == "closed":
            os.close(number)
        else:
            reading, writing = os.pipe()
            descriptor = os.open({"full": "/dev/full", "ascii": os.devnull}.get(kind, os.devnull), os.O_WRONLY)
            os.dup2(writing if kind == "gone" else descriptor, number)
            for unused in (reading, writing, descriptor):
                os.close(unused)
            stream = open(number, "w", encoding="ascii", buffering=1, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def deaf(words, kind):
    """`ard WORDS` whose output nobody gets; for `start`."""
    from ard.__main__ import main

    deafen(kind)
    status = main(words)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # as Python does at its end, with status 120 where it fails
    return status


@pytest.mark.fault(50)
@pytest.mark.parametrize("kind", DEAF)
def test_a_run_that_nobody_hears_ends_as_any_other(command, tmp_path, observed, kind):
    """With warnings from its start to its end, ours and a library's: a teacher that guesses, a callback that prints."""
    words = command(tmp_path / "run", "kd", "--trainer.callbacks=test_terminal.Loud")
    assert statuses(start(deaf, words, kind)) == [0]
    assert (tmp_path / "run" / "student.safetensors").is_file()
    observed(f"stdout and stderr {kind}: exit 0, student.safetensors written")


@pytest.mark.fault(50, 4)
def test_a_run_that_nobody_hears_is_asked_to_stop(command, tmp_path, observed):
    witness = witnessed(tmp_path / "run", epoch=1, step=0, signals=[int(signal.SIGTERM)])
    words = command(tmp_path / "run", "natural", "--trainer.max_epochs=3", witness)
    assert statuses(start(deaf, words, "full")) == [143]
    assert (tmp_path / "run" / "last.ckpt").is_file()
    observed("SIGTERM to a run with stdout and stderr on a full disk: exit 143, a checkpoint of this step")


@pytest.mark.parametrize("kind", DEAF)
@pytest.mark.parametrize("words", ["--help", "list", "evaluat", "fit --help", "compare nowhere"])
def test_every_verb_keeps_its_status(kind, words):
    assert statuses(start(deaf, words.split(), kind)) == [2 if words in ("evaluat", "compare nowhere") else 0]


@pytest.mark.fault(50)
def test_a_text_that_was_asked_for_and_is_not_whole_is_an_error(observed):
    results = statuses(*(start(deaf, ["config", "methods/rslad"], kind) for kind in ("full", "gone")))
    assert results == [2, 0]
    observed("`ard config methods/rslad` onto a full disk: exit 2; to a reader that went away: exit 0")


class Broken(io.StringIO):
    def write(self, _):
        raise BrokenPipeError(32, "Broken pipe")

    def flush(self):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("stream", [None, Broken()], ids=["none", "broken"])
def test_who_says_something_never_fails(stream, monkeypatch):
    """Without the command, too: in a notebook, or in a program of somebody's own."""
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    say("heard")
    say("heard", error=True)
    console().print("heard")
    console(error=True).print("heard")
    hand_out("heard")


def test_what_is_said_is_one_piece(capsys):
    say("two\nlines")
    say(3, error=True)
    hand_out("text\n")
    console().print("rich")
    assert capsys.readouterr() == ("two\nlines\ntext\nrich\n", "3\n")


def test_a_text_that_was_not_written_is_told(monkeypatch):
    class Full:
        failed = OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdout", type("Stream", (io.StringIO,), {"buffer": type("Buffer", (), {"raw": Full})})())
    with user_error("the output cannot be written .No space left on device."):
        hand_out("text")


def test_nothing_is_printed_by_other_ways():
    """A `print` raises where nobody listens, and so may rich's own console; only core/terminal.py knows better."""
    found = [
        (str(file.relative_to(ROOT)), line.strip())
        for file in sorted(ROOT.rglob("*.py"))
        for line in file.read_text().splitlines()
        if re.search(r"(?<![\w.])(?<!def )print\(|\bConsole\(|sys\.std(out|err)\.write", line)
    ]
    assert found == [("core/terminal.py", "return Console(file=stream)")]
