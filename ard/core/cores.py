"""How many cores of the CPU this process may use."""

import os


def usable_cores() -> int:
    """Those that a scheduler, a set of a container or `taskset` left to it; of a system that does not say, all there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
