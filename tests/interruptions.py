"""`ard evaluate` in processes of their own that die when they are told to; torch is imported for all of them once."""

import itertools
import multiprocessing
import os
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout

import torch

from ard.__main__ import main

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["interruptions", "small_runs", "ard.commands.evaluate", "ard.commands.verify", "ard.report.evidence_card"]
)
CHANGES = ("replace", "unlink", "rmdir")  # with these an evaluation makes its files appear and vanish
NO_CHECKOUT = {"GIT_DIR": os.devnull}  # a state belongs to a commit, and somebody may edit the tree meanwhile


def start(weights, *arguments, dies_at=None, dies_after=0):
    """A process of `ard evaluate WEIGHTS`, killed in place of its `dies_at`-th change on disk, or after seconds of work."""
    words = [str(argument) for argument in arguments]
    process = CONTEXT.Process(target=_evaluate, args=(weights, words, dies_at, dies_after))
    process.start()
    return process


def ended(*processes):
    """Their exit statuses; minus the signal where one was killed."""
    for process in processes:
        process.join(600)
    return [process.exitcode for process in processes]


def said(weights):
    """What all processes of these weights have written so far, stdout and stderr, line by line."""
    return _talk(weights).read_text().splitlines()


def lying(folder):
    """Everything in a folder: files, hidden ones and folders."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def timeless(record):
    """A record without what depends on the clock."""
    if isinstance(record, list):
        return [timeless(part) for part in record]
    if not isinstance(record, dict):
        return record
    return {key: timeless(value) for key, value in record.items() if key not in ("seconds", "images_per_s")}


def _talk(weights):
    return weights.parent.with_suffix(".out")


def _evaluate(weights, arguments, dies_at, dies_after):
    torch.set_num_threads(1)
    os.environ.update(NO_CHECKOUT)
    os.chdir(weights.parent)
    changes = itertools.count(1)
    for name in CHANGES:
        setattr(os, name, _deadly(getattr(os, name), changes, dies_at))
    signal.setitimer(signal.ITIMER_PROF, dies_after)  # its signal ends a process as abruptly, whatever else the machine does
    with open(_talk(weights), "a", buffering=1) as talk, redirect_stdout(talk), redirect_stderr(talk):
        sys.exit(main(["evaluate", weights.name, *arguments]))


def _deadly(change, changes, dies_at):
    def changed(*args, **kwargs):
        if next(changes) == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return change(*args, **kwargs)

    return changed
