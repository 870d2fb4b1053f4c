"""Processes that train together: none outlives the one that started it."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

RANK_VARIABLES = ("LOCAL_RANK", "SLURM_LOCALID", "JSM_NAMESPACE_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK")  # by any starter
LAUNCHER, POLL_LAUNCHER = "ARD_LAUNCHER", 0.5  # the variable with the process that started this one; seconds


@contextmanager
def supervised() -> Iterator[None]:
    """A block in which the first process of a node starts the others, each of which ends with it, from its first moment on.

    That is before they look for one another: a collective operation may wait for a dead process for half an hour, and
    Lightning watches the children only. The first one may outlive the shell that started it.
    """
    if not is_first_of_node():
        launcher = int(os.environ.get(LAUNCHER) or os.getppid())  # it may have died before this process could look
        threading.Thread(target=_end_with_parent, args=(launcher,), daemon=True).start()
        yield
        return
    os.environ[LAUNCHER] = str(os.getpid())
    try:
        yield
    finally:
        os.environ.pop(LAUNCHER, None)


def is_first_of_node() -> bool:
    """Whether this process is the first of a run on its machine, or alone; known before anything is connected."""
    return next((os.environ[name] for name in RANK_VARIABLES if name in os.environ), "0") == "0"


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_LAUNCHER)
    os._exit(1)
