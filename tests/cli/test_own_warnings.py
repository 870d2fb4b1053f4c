"""A warning of ours takes one line, from whatever package it comes; those of others look as ever."""

import warnings
from pathlib import Path

import pytest
import torch

import ard
from ard.attacks import PGD, Linf
from ard.cli.messages import quiet

FILES = sorted(Path(ard.__file__).parent.rglob("*.py"))


@pytest.fixture
def shown(monkeypatch):
    """shown(call): what a user sees of the warnings of one call."""
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # quiet() changes it for the whole process

    def show(call):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            quiet()
            call()
        return [warnings.formatwarning(w.message, w.category, w.filename, w.lineno) for w in caught]

    return show


def far_too_long():
    PGD(Linf(eps=0.1), steps=5, relative_step=8.0)


def test_a_warning_of_an_attack_takes_one_line(shown):
    (text,) = shown(far_too_long)
    assert text.startswith("ard: warning: ")
    assert "longer than the ball is wide" in text
    assert text.count("\n") == 1


def test_a_warning_from_any_of_our_files_takes_one_line(shown):
    assert shown(lambda: None) == []  # and from here on the format is that of the command line
    assert len(FILES) > 100
    for file in FILES:
        assert warnings.formatwarning("found", UserWarning, str(file), 1) == "ard: warning: found\n", file


def test_a_warning_of_others_keeps_its_place(shown):
    shown(lambda: None)
    text = warnings.formatwarning("found", UserWarning, torch.__file__, 1)
    assert torch.__file__ in text
    assert "ard: warning" not in text


@pytest.mark.parametrize("module", ["lightning_fabric.plugins.environments.slurm", "pytorch_lightning.loops.fit_loop"])
def test_hints_of_lightning_are_not_shown(shown, module):
    """Such as to begin the command with `srun`, wherever that is installed."""
    assert shown(lambda: warnings.warn_explicit("HINT", UserWarning, "slurm.py", 204, module=module)) == []


def test_only_the_first_process_of_a_node_warns(shown, monkeypatch):
    monkeypatch.setenv("SLURM_LOCALID", "1")
    assert shown(far_too_long) == []
