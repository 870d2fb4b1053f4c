"""`ard study`: plan, check every run before the first, run what is not finished, compare."""

import signal
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from ard.configs.catalogue import root
from ard.core.terminal import say
from ard.study.devices import Devices
from ard.study.display import Display
from ard.study.job import Job
from ard.study.plan import Study, plan, read_study
from ard.study.processes import Processes

Rehearse = Callable[[list[str]], dict[str, Any]]  # arguments of `ard fit` -> the resolved config; trains nothing


def run_study(
    path: Path, rehearse: Rehearse, compare: Callable[..., str], jobs_per_device: int | None = None
) -> tuple[int, str]:
    """Run what is not finished and compare everything; returns 1 only where a run failed, and the table.

    `path` is the study's file, as `find` gives it; runs, records and the table are in checkpoints/<study>.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the runs of a killed study end with it
    directory = Path("checkpoints") / path.stem
    study = _without_the_repositorys_results(read_study(path), path, directory)
    rehearse_once = cache(lambda *arguments: rehearse([*arguments]))
    runs = plan(study, directory, rehearse_once)
    resolved = {run.name: rehearse_once(*run.arguments) for run in runs}  # every mistake comes before the first training
    processes, devices = Processes(), Devices(study.jobs, jobs_per_device)
    with Display(len(runs)) as display, ThreadPoolExecutor(devices.count) as pool:
        jobs: dict[str, Job] = {}
        for run in reversed(runs):  # students before their teachers
            students = [jobs[other.name] for other in runs if run in other.teachers.values()]
            jobs[run.name] = Job(study, run, resolved[run.name], display, processes, devices, students)
        futures: dict[str, Future[str | None]] = {}
        for run in runs:
            teachers = [futures[teacher.name] for teacher in run.teachers.values()]
            futures[run.name] = pool.submit(jobs[run.name].execute, teachers)
        try:
            failures = {name: reason for name, future in futures.items() if (reason := future.result())}
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            processes.stop()
            raise
    for name, reason in failures.items():
        say(f"failed: {name}: {reason}", error=True)
    if len(failures) == len(runs):
        return 1, "no run was finished, so there is nothing to compare"
    output = Path(study.results) if study.results else directory
    return int(bool(failures)), compare([directory], output, baseline=study.baseline)


def _without_the_repositorys_results(study: Study, path: Path, directory: Path) -> Study:
    """A study that comes with ard publishes into ard's repository: from another folder it does not, and says so."""
    if not study.results or not path.is_relative_to(root()) or Path.cwd().samefile(root().parent):
        return study
    say(f"records and the table are below {directory} alone; {study.results} is a folder of ard's repository")
    return replace(study, results=None)
