"""`ard list` and `ard config`: all that there is, in a line each, without torch."""

from inspect import signature

import pytest
from small_runs import cli, one_line
from tiny import concrete
from torch import nn

import ard.attacks
import ard.data
import ard.models
from ard.cli.known_classes import GROUPS, known_classes
from ard.configs.catalogue import KINDS, find, names


@pytest.mark.parametrize("group", [*KINDS, *GROUPS])
def test_a_group_has_a_line_each_with_what_it_is(group, capsys):
    status, out, err = cli(capsys, "list", group)
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert (status, err) == (0, "")
    assert list(rows) == (names(group) if group in KINDS else list(known_classes(group)))
    assert all(len(sentence) > 20 and sentence[-1] in ".?" for sentence in rows.values())


@pytest.mark.parametrize(("group", "parent"), [("data", ard.data.DataModule), ("attacks", ard.attacks.Attack)])
def test_the_classes_read_from_source_are_those_that_can_be_imported(group, parent):
    assert list(known_classes(group)) == sorted(kind.__name__ for kind in concrete(getattr(ard, group), parent))


def test_the_networks_are_those_that_take_num_classes():
    kinds = concrete(ard.models, nn.Module)
    assert set(known_classes("models")) == {kind.__name__ for kind in kinds if "num_classes" in signature(kind).parameters}


def test_alone_it_names_everything(capsys):
    status, out, _ = cli(capsys, "list")
    words = out.replace(",", " ").split()
    assert status == 0
    assert all({group, *names(group)} <= set(words) for group in KINDS)
    assert all({group, *known_classes(group)} <= set(words) for group in GROUPS)


def test_a_group_that_is_none(place, capsys):
    assert "no group 'metods'; did you mean 'methods'?" in one_line(place, capsys, "list", "metods")
    assert "expected one of bases, methods" in one_line(place, capsys, "list", "x", "y")


def test_a_config_is_printed_as_it_is(place, capsys):
    assert cli(capsys, "config", "pgd_at") == (0, find("pgd_at").read_text(), "")
    assert cli(capsys, "config", "schedules/rslad") == (0, find("schedules/rslad").read_text(), "")
    found = one_line(place, capsys, "config", "rslad")
    assert "methods/rslad and schedules/rslad" in found
