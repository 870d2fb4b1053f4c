"""The processes of a study, each an `ard` command: forked from one that has everything imported, ended with the study."""

import atexit
import multiprocessing
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext
from pathlib import Path

FORKS = sys.platform == "linux"  # elsewhere libraries of the system do not survive a fork
CONTEXT: BaseContext = multiprocessing.get_context("forkserver" if FORKS else "spawn")
# None of these touches a GPU.
PREPARED = ["ard.cli.lightning", "ard.commands.evaluate_file", "ard.data", "ard.models", "ard.objectives"]
if FORKS:
    CONTEXT.set_forkserver_preload(PREPARED)


GRACE = 30.0  # seconds to save the step in which a command is asked to end


class Processes:
    """All processes of a study, so that an interrupted one leaves none behind and starts no more."""

    def __init__(self) -> None:
        self._running: list[multiprocessing.process.BaseProcess] = []
        self._stopped = False
        self._lock = threading.Lock()

    def run(self, arguments: list[str], log: Path, environment: dict[str, str]) -> int:
        """The exit status of an `ard` command that writes to the log, 130 where the study was interrupted before it."""
        # A run is none of the tasks that SLURM started, of which Lightning would take it for one.
        inherited = {name: value for name, value in os.environ.items() if name != "SLURM_NTASKS"}
        process = CONTEXT.Process(target=ard_command, args=(arguments, log, inherited | environment))  # type: ignore[attr-defined]
        with self._lock:
            if self._stopped:
                return 130
            with _uninterrupted():
                process.start()
            self._running.append(process)
        wait([process.sentinel])
        with self._lock:  # to start a process is to ask for the status of others, which can be read once
            process.join()
        return int(process.exitcode)

    def stop(self) -> None:
        """Ask every process to end."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.terminate()


def ard_command(arguments: list[str], log: Path, environment: dict[str, str]) -> None:
    """What `python -m ard ARGUMENTS >> log 2>&1` does in this environment, in the process that calls it."""
    os.environ.clear()
    os.environ.update(environment)
    if "OMP_NUM_THREADS" in environment:
        import torch

        torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))  # OpenMP asked when it was loaded, before the fork
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with open(log, "ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    if FORKS:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    sys.argv[1:] = arguments
    sys.modules.pop("ard.__main__", None)  # the prepared process may have it, which runpy would warn of
    try:
        runpy.run_module("ard", run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # a process of multiprocessing leaves without them


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """A process begun in it meets no Ctrl-C: neither that which imports for seconds, nor a command that has no log yet."""
    if not FORKS:
        yield
        return
    resource_tracker.ensure_running()  # else it is begun in the midst of it, and unblocks the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with(study: multiprocessing.process.BaseProcess | None) -> None:
    """Save and end when the study does, however it is killed: then a pipe closes that only the study holds open.

    The death signal of Linux would not come: a process of this kind is a child of the prepared one, which lives on.
    """
    if study is not None:
        wait([study.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE)
        os._exit(128 + signal.SIGTERM)
