"""The one process that all others of the suite are forked from, those of studies too: everything imported, nothing done."""

import os
import signal
import socket
import sys
from contextlib import redirect_stderr, redirect_stdout

from ard.study.processes import CONTEXT, PREPARED

CONTEXT.set_forkserver_preload(
    [*PREPARED, "sklearn.datasets", "ard.commands.verify_file", "ard.report.evidence_card", "pytest", "hypothesis"]
)
PATIENCE = 600  # seconds until a process that does not end is given up


def start(target, *args, words=None):
    """A process that calls the target, its words in a file; its status is what the target returns, or exits with."""
    process = CONTEXT.Process(target=_call, args=(target, args, words))
    process.start()
    return process


def statuses(*processes):
    """The exit statuses of processes that end; minus the signal where one was killed."""
    for process in processes:
        process.join(PATIENCE)
    return [process.exitcode for process in processes]


def pair_environments():
    """Of two processes that train together, started by hand."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "NODE_RANK": "0"}
    return [{**shared, "LOCAL_RANK": str(rank)} for rank in range(2)]


def enter_pair(environment):
    """Makes this process one of the two."""
    from pytorch_lightning.utilities import rank_zero_only

    os.environ.update(environment)
    rank_zero_only.rank = int(environment.get("LOCAL_RANK", 0))  # was set when Lightning was imported


def rank(environment, words):
    """`ard WORDS` as one of the two; for `start`."""
    from ard.__main__ import main

    enter_pair(environment)
    return main([*words, "--trainer.devices=2", "--trainer.strategy=ddp"])


def _call(target, args, words):
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if words is None:
        sys.exit(target(*args))
    with open(words, "a", buffering=1) as talk, redirect_stdout(talk), redirect_stderr(talk):
        sys.exit(target(*args))
