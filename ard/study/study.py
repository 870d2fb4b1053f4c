"""`ard study`: plan, check every run before the first, run what is not finished, compare."""

import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from ard.artifacts.paths import RECORD
from ard.configs.catalogue import root
from ard.core.locks import alone
from ard.core.terminal import say
from ard.study.devices import Devices
from ard.study.display import Display
from ard.study.job import Job
from ard.study.plan import plan
from ard.study.processes import Processes
from ard.study.study_file import Study, read_study
from ard.study.tuning import Tuning, check_tuned

STUDY = "another study is running here ({holder}); expected one at a time: wait for it, or give this one's file another name"
ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
Rehearse = Callable[[list[str]], dict[str, Any]]  # arguments of `ard fit` -> the resolved config; trains nothing


def run_study(
    path: Path, rehearse: Rehearse, compare: Callable[..., str], jobs_per_device: int | None = None
) -> tuple[int, str]:
    """Run what is not finished and compare everything; returns 1 only where a run failed, and the table.

    `path` is the study's file, as `find` gives it; runs, records and the table are in checkpoints/<study>.
    """
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, _end_once)
    directory = Path("checkpoints") / path.stem
    study = _without_the_repositorys_results(read_study(path), path, directory)
    with alone(directory, refusal=STUDY):
        failures, count = _finish(study, directory, rehearse, jobs_per_device)
        for name, reason in failures.items():
            say(f"failed: {name}: {reason}", error=True)
        if len(failures) == count:
            return 1, "no run was finished, so there is nothing to compare"
        return int(bool(failures)), _tables(study, directory, compare)


def _finish(study: Study, directory: Path, rehearse: Rehearse, jobs_per_device: int | None) -> tuple[dict[str, str], int]:
    """Run what is not finished; why runs failed, by their name, and how many runs there are."""
    rehearse_once = cache(lambda *arguments: rehearse([*arguments]))
    runs = plan(study, directory, rehearse_once)
    resolved = {run.name: rehearse_once(*run.arguments) for run in runs}  # every mistake comes before the first training
    check_tuned(runs, resolved)
    processes, devices = Processes(), Devices(study.jobs, jobs_per_device)
    tuning = Tuning([directory, *([Path(study.results)] if study.results else [])])
    with Display(len(runs)) as display, ThreadPoolExecutor(devices.count) as pool, _ended_by_errors(pool, processes):
        jobs: dict[str, Job] = {}
        for run in sorted(runs, key=lambda run: (run.role == "teacher", not run.tried)):  # those before that others look at
            trials = [jobs[trial.name] for trial in run.trials]
            students = [jobs[other.name] for other in runs if run in other.teachers.values()]
            jobs[run.name] = Job(study, run, resolved[run.name], display, processes, devices, tuning, trials, students)
        futures: dict[str, Future[str | None]] = {}
        for run in runs:
            teachers = [futures[teacher.name] for teacher in run.teachers.values()]
            tried = [futures[trial.name] for trial in run.trials]
            futures[run.name] = pool.submit(jobs[run.name].execute, teachers, tried)
        return {name: reason for name, future in futures.items() if (reason := future.result())}, len(runs)


def _tables(study: Study, directory: Path, compare: Callable[..., str]) -> str:
    """Of all runs; with conditions one for the runs under each, and the teachers."""
    output = Path(study.results) if study.results else directory
    if not study.conditions:
        return compare([directory], output, baseline=study.baseline, ladder=study.ladder)
    teachers = [folder for folder in [directory / "teachers"] if folder.is_dir()]
    tables = []
    for condition in study.conditions:
        if any((directory / condition).rglob(RECORD)):
            folders = [directory / condition, *teachers]
            table = compare(folders, output / condition, baseline=study.baseline, ladder=study.ladder)
            tables.append(f"{condition}:\n\n{table}")
    return "\n\n".join(tables)


@contextmanager
def _ended_by_errors(pool: Executor, processes: Processes) -> Iterator[None]:
    """A block whose error asks every run to end and begins no more of them; the pool then waits for those."""
    try:
        yield
    except BaseException:
        processes.stop()
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def _end_once(number: int, _: object) -> None:
    """The first signal ends the study and its runs, each with a checkpoint; a second one must not interrupt that."""
    for each in ENDING:
        signal.signal(each, signal.SIG_IGN)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)


def _without_the_repositorys_results(study: Study, path: Path, directory: Path) -> Study:
    """A study that comes with ard publishes into ard's repository: from another folder it does not, and says so."""
    if not study.results or not path.is_relative_to(root()) or Path.cwd().samefile(root().parent):
        return study
    say(f"records and the table are below {directory} alone; {study.results} is a folder of ard's repository")
    return replace(study, results=None)
