"""What every diagnostic keeps to, and what the runner refuses."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from inspected_networks import images, inspected
from tiny import tiny_net, user_error
from torch import nn

from ard.diagnostics import diagnosing
from ard.diagnostics.base import Found, NotApplicableError, diagnostic
from ard.diagnostics.diagnosing import diagnose_images, load_diagnostic
from ard.diagnostics.names import groups, named

NAMES = list(groups())


@pytest.fixture
def subject():
    """A student, a teacher, where the student began, and images of another kind."""
    x = torch.rand((12, 1, 6, 6), generator=torch.Generator().manual_seed(0))
    y, other = torch.arange(12) % 4, 1 - x
    student, teacher, initial = (tiny_net(seed).eval() for seed in range(3))
    return inspected(student, x, y, teacher=teacher, initial=initial, other=(other, y))


@pytest.mark.parametrize("name", NAMES)
def test_a_diagnostic_says_the_same_twice_and_leaves_everything_as_it_was(name, subject):
    """`_measured` raises where a bit of a network, a mode or the random state changed."""
    once, again = (diagnose_images(dataclasses.replace(subject), [name]) for _ in range(2))
    assert [result.values for result in once.results] == [result.values for result in again.results]
    assert once.results or once.skipped


@pytest.mark.parametrize("name", NAMES)
def test_a_diagnostic_says_what_it_tells_and_what_it_cannot_and_has_a_test(name):
    chosen = load_diagnostic(name)
    assert len(chosen.tells.split()) > 4
    assert len(chosen.cannot.split()) > 4
    assert chosen.measure.__name__ == name
    tests = Path(__file__).parent.glob(f"test_{groups()[name]}*.py")
    assert any(name in test.read_text() for test in tests)


def faulty(measure):
    return diagnostic(tells="t", cannot="c", source="s")(measure)


@pytest.fixture
def one(monkeypatch, subject):
    """one(measure): the result of a diagnostic of the test's own."""

    def run(measure):
        monkeypatch.setattr(diagnosing, "load_diagnostic", lambda _: faulty(measure))
        return diagnose_images(subject, [NAMES[0]])

    return run


def test_a_number_that_is_none_is_an_error(one):
    with user_error("the share is nan; expected finite numbers"):
        one(lambda _: Found(values={"the share": math.nan}))
    with user_error("rank of layer 3 is inf"):
        one(lambda _: Found(values={}, layers={"3": {"rank": math.inf}}))


def test_a_diagnostic_that_changes_a_network_is_found_out(one):
    def moved(of):
        of.student[1].running_mean.add_(1e-3)
        return Found(values={})

    with pytest.raises(RuntimeError, match="left a network"):
        one(moved)


def test_one_that_does_not_apply_is_skipped_with_its_reason(one):
    def refused(_):
        raise NotApplicableError("too deep")

    assert [(skipped.reason) for skipped in one(refused).skipped] == ["too deep"]


def test_without_a_teacher_those_that_need_one_say_so(subject):
    alone = dataclasses.replace(subject, teacher=None)
    for name in NAMES:
        if load_diagnostic(name).runs == "with a teacher":
            assert "add --teacher" in diagnose_images(alone, [name]).skipped[0].reason


def test_names_are_those_of_files_and_a_typo_gets_the_nearest():
    assert named(["sensitivity"]) == [name for name, group in groups().items() if group == "sensitivity"]
    assert named(["all"]) == NAMES
    with user_error("did you mean 'sensitivity'"):
        named(["sensitivty"])


def test_a_network_of_nan_is_one_line():
    broken = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    nn.init.constant_(broken[1].weight, math.nan)
    with user_error("finite"):
        diagnose_images(inspected(broken, images(), torch.zeros(8, dtype=torch.long)), ["relative_output_sensitivity"])
