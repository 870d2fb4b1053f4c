"""What the Tab key offers, in this process."""

import sys

import pytest

from ard.cli.completion import command_line, complete
from ard.commands import VERBS


def offered(line, monkeypatch):
    argcomplete = pytest.importorskip("argcomplete")
    monkeypatch.setenv("COMP_LINE", line)
    parser = command_line({name: (f"ard.commands.{verb.module}", verb.function) for name, verb in VERBS.items()})
    finder = argcomplete.CompletionFinder(parser)
    answers = [finder.rl_complete(line.removeprefix("ard "), index) for index in range(30)]
    return [answer.split()[-1] for answer in answers if answer is not None]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ard ev", ["evaluate"]),
        ("ard fit digi", ["digits", "digits_labels"]),
        ("ard fit digits abs", ["absld", "absld-as-released"]),
        ("ard fit digits rslad one", ["one_cycle"]),
        ("ard fit digits mi", ["mine"]),
        ("ard doctor digits rslad --batch", ["--batch-size"]),
        ("ard fit digits rslad --student Mob", ["MobileNetV2"]),
        ("ard fit digits rslad --model.training.w", ["--model.training.weight_decay", "--model.training.warmup"]),
        ("ard evaluate --su", ["--suite"]),
        ("ard study digits-fr", ["digits-frontier"]),
        ("ard config one", ["one_cycle"]),
        ("ard list sch", ["schedules"]),
    ],
)
def test_the_tab_key_offers(line, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").touch()
    assert offered(line, monkeypatch) == words


def test_without_argcomplete_nothing_happens(monkeypatch):
    monkeypatch.setitem(sys.modules, "argcomplete", None)
    assert complete({}) is None
