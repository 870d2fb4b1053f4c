"""Which run of a study starts next."""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from fuzzing import tried
from hypothesis import given
from hypothesis import strategies as st

from ard.study.order import all_in_order
from ard.study.study_run import StudyRun


def run_of(name, *awaited):
    needs = {"teachers": {str(place): one for place, one in enumerate(awaited)}}
    return StudyRun(name=name, study="s", method="m", directory=Path(name), configs=(), overrides={}, seed=0, **needs)


class Clock:
    """Runs of so many hours each, of which the first to end ends first; it notes when each began."""

    def __init__(self, hours):
        self.hours, self.now, self.begun, self.ends = hours, 0, {}, {}

    def start(self, run, ended):
        assert all(one.name in ended for one in run.teachers.values())
        self.begun[run.name], future = self.now, Future()
        self.ends[future] = self.now + self.hours[run.name]
        return future

    def wait(self, futures, return_when):  # noqa: ARG002
        self.now = min(self.ends[future] for future in futures)
        done = {future for future in futures if self.ends[future] == self.now}
        for future in done:
            future.set_result(None)
        return type("Ended", (), {"done": done})


def begun(monkeypatch, runs, hours, at_once):
    clock = Clock(hours)
    monkeypatch.setattr("ard.study.order.wait", clock.wait)
    assert list(all_in_order(runs, clock.start, at_once)) == [run.name for run in runs]
    return clock.begun


def test_no_place_is_kept_by_a_run_that_waits(monkeypatch):
    """The student of the slow teacher is first in order; that of the quick one runs meanwhile."""
    slow, quick = run_of("slow"), run_of("quick")
    runs = [slow, quick, run_of("a", slow), run_of("b", quick), run_of("c")]
    when = begun(monkeypatch, runs, {"slow": 10, "quick": 1, "a": 1, "b": 3, "c": 3}, at_once=2)
    assert when == {"slow": 0, "quick": 0, "b": 1, "c": 4, "a": 10}


@tried(100)
@given(st.data())
def test_all_run_once_in_order_and_never_too_many(data):
    count, at_once = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 3))
    runs = []
    for number in range(count):
        needs = data.draw(st.lists(st.sampled_from(runs), max_size=2, unique_by=lambda run: run.name)) if runs else []
        runs.append(run_of(str(number), *needs))
    hours = {run.name: data.draw(st.integers(1, 4)) for run in runs}
    with pytest.MonkeyPatch.context() as monkeypatch:
        when = begun(monkeypatch, runs, hours, at_once)
    end = {name: start + hours[name] for name, start in when.items()}
    for run in runs:
        busy = sum(when[name] <= when[run.name] < end[name] for name in when)
        assert busy <= at_once
        assert all(end[one.name] <= when[run.name] for one in run.teachers.values())
        before = [one for one in runs if one.name < run.name and when[one.name] > when[run.name]]
        assert all(any(end[need.name] > when[run.name] for need in one.teachers.values()) for one in before)


def test_an_error_ends_it_before_anything_else_starts():
    started = []

    def start(run, ended):  # noqa: ARG001
        started.append(run.name)
        return pool.submit(lambda: 1 // 0)

    with ThreadPoolExecutor(1) as pool, pytest.raises(ZeroDivisionError):
        all_in_order([run_of("first"), run_of("second")], start, 1)
    assert started == ["first"]
