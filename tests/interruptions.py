"""`ard evaluate` in processes of their own that die when they are told to; torch is imported for all of them once."""

import itertools
import os
import signal

import prepared
import pytest
from prepared import statuses as ended  # noqa: F401
from small_runs import less_effort

from ard.__main__ import main
from ard.artifacts.record import Record
from ard.artifacts.typed_json import to_tree

CHANGES = ("replace", "unlink", "rmdir")  # with these an evaluation makes its files appear and vanish
NO_CHECKOUT = {"GIT_DIR": os.devnull}  # a state belongs to a commit, and somebody may edit the tree meanwhile


def start(weights, *arguments, dies_at=None, dies_after=0):
    """A process of `ard evaluate WEIGHTS`, killed in place of its `dies_at`-th change on disk, or after seconds of work."""
    words = [str(argument) for argument in arguments]
    return prepared.start(_evaluate, weights, words, dies_at, dies_after, words=_talk(weights))


def said(weights):
    """What all processes of these weights have written so far, stdout and stderr, line by line."""
    return _talk(weights).read_text().splitlines()


def lying(folder):
    """Everything in a folder: files, hidden ones and folders."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def timeless(record):
    """A record, or what its file holds, without what depends on the clock."""
    if isinstance(record, Record):
        return timeless(to_tree(record, record.schema))
    if isinstance(record, list):
        return [timeless(part) for part in record]
    if not isinstance(record, dict):
        return record
    # its digest is of these, too
    clock = ("seconds", "device_seconds", "images_per_s", "time", *(["digest"] if "schema" in record else []))
    return {key: timeless(value) for key, value in record.items() if key not in clock}


def _talk(weights):
    return weights.parent.with_suffix(".out")


def _evaluate(weights, arguments, dies_at, dies_after):
    os.environ.update(NO_CHECKOUT)
    os.chdir(weights.parent)
    less_effort(pytest.MonkeyPatch())
    changes = itertools.count(1)
    for name in CHANGES:
        setattr(os, name, _deadly(getattr(os, name), changes, dies_at))
    signal.setitimer(signal.ITIMER_PROF, dies_after)  # its signal ends a process as abruptly, whatever else the machine does
    return main(["evaluate", weights.name, *arguments])


def _deadly(change, changes, dies_at):
    def changed(*args, **kwargs):
        if next(changes) == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return change(*args, **kwargs)

    return changed
